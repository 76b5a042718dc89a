"""Inspection at line speed: frozen networks on preallocated memory.

``plan.py`` chooses how each convolution is computed, ``cpu.py`` runs the plan.
"""

from pyramidflow.engine.cpu import CpuEngine, EngineSlot
from pyramidflow.engine.plan import Layer, Plan

__all__ = ["CpuEngine", "EngineSlot", "Layer", "Plan"]

"""Inspection at line speed: frozen networks on preallocated memory.

``plan.py`` chooses how each convolution is computed on a CPU and ``cpu.py`` runs the plan,
``tiles.py`` on one tile after the other where ``choice.py`` finds too little memory for the whole;
``cuda.py`` is the engine of a GPU; ``slot.py`` makes the one that fits. All are made from what
``settings.py`` describes.
"""

from pyramidflow.engine.choice import make_engine
from pyramidflow.engine.cpu import CpuEngine
from pyramidflow.engine.plan import Layer, Plan
from pyramidflow.engine.settings import Precision, Settings, TrainedNetwork
from pyramidflow.engine.slot import Engine, EngineSlot
from pyramidflow.engine.tiles import TiledEngine

__all__ = [
    "CpuEngine",
    "Engine",
    "EngineSlot",
    "Layer",
    "Plan",
    "Precision",
    "Settings",
    "TiledEngine",
    "TrainedNetwork",
    "make_engine",
]

"""Inspection at line speed: frozen networks on preallocated memory.

``plan.py`` chooses how each convolution is computed on a CPU and ``cpu.py`` runs the plan,
``tiles.py`` on one tile after the other where ``choice.py`` finds too little memory for the whole;
``cuda.py`` is the engine of a GPU, ``plain.py`` stands in where no other fits; ``device.py`` makes
the one of a device. All are made from what ``settings.py`` describes.
"""

from pyramidflow.engine.choice import make_engine
from pyramidflow.engine.cpu import CpuEngine
from pyramidflow.engine.device import Engine, engine_on, images_at_once
from pyramidflow.engine.plain import PlainEngine
from pyramidflow.engine.plan import Layer, Plan
from pyramidflow.engine.settings import Precision, Settings, TrainedNetwork
from pyramidflow.engine.tiles import AssembledEngine, TiledEngine

__all__ = [
    "AssembledEngine",
    "CpuEngine",
    "Engine",
    "Layer",
    "PlainEngine",
    "Plan",
    "Precision",
    "Settings",
    "TiledEngine",
    "TrainedNetwork",
    "engine_on",
    "images_at_once",
    "make_engine",
]

"""Inspection at line speed: frozen networks on preallocated memory.

``cpu`` and ``cuda`` are the runtimes of a kind of device each, ``eager.py`` stands in where neither
fits; ``device.py`` makes the one of a device. All are made from what ``settings.py`` describes.
"""

from pyramidflow.runtime.cpu.budget import make_runtime
from pyramidflow.runtime.cpu.plan import Layer, Plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime
from pyramidflow.runtime.cpu.tiled import AssembledRuntime, TiledRuntime
from pyramidflow.runtime.device import Runtime, images_at_once, runtime_on
from pyramidflow.runtime.eager import EagerRuntime
from pyramidflow.runtime.settings import Precision, Settings, TrainedNetwork

__all__ = [
    "AssembledRuntime",
    "CpuRuntime",
    "EagerRuntime",
    "Layer",
    "Plan",
    "Precision",
    "Runtime",
    "Settings",
    "TiledRuntime",
    "TrainedNetwork",
    "images_at_once",
    "make_runtime",
    "runtime_on",
]

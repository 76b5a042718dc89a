"""Inspection at line speed: frozen networks on preallocated memory.

``cpu`` and ``cuda`` are the runtimes of a kind of device each, with one surface (``plan.py``);
``eager.py`` stands in where neither fits; ``device.py`` takes the one of a device. All are made
from what ``settings.py`` describes.
"""

from pyramidflow.runtime.device import resolve_device, runtime_on
from pyramidflow.runtime.eager import EagerRuntime
from pyramidflow.runtime.plan import Plan, Runtime
from pyramidflow.runtime.settings import Precision, Settings, TrainedNetwork

__all__ = [
    "EagerRuntime",
    "Plan",
    "Precision",
    "Runtime",
    "Settings",
    "TrainedNetwork",
    "resolve_device",
    "runtime_on",
]

"""Inspection at line speed: frozen networks on preallocated memory.

``cpu`` and ``cuda`` are the runtimes of a kind of device each, with one surface (``plan.py``);
``eager.py`` stands in where neither fits; ``device.py`` takes the one of a device. All are made
from a ``TrainedNetwork`` and ``InspectionSettings``.
"""

from pyramidflow.runtime.device import check_settings, resolve_device, runtime_on
from pyramidflow.runtime.eager import EagerRuntime
from pyramidflow.runtime.inspection_settings import InspectionSettings, Precision
from pyramidflow.runtime.plan import Plan, Runtime
from pyramidflow.runtime.trained_network import TrainedNetwork

__all__ = [
    "EagerRuntime",
    "InspectionSettings",
    "Plan",
    "Precision",
    "Runtime",
    "TrainedNetwork",
    "check_settings",
    "resolve_device",
    "runtime_on",
]

"""Which implementation of the operations runs: the backends, and the choice among them.

A backend is a module with one function for each operation of ``registry``, of the same name and
arguments, and three names more:

- ``DEVICES``: device types whose tensors it takes;
- ``DTYPES``: element types that it computes in;
- ``status()``: a :class:`Status`, whether it can run here and if not, why.

Modules load on first use, so that importing the package never fails for want of one.
"""

import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

import torch

from pyramidflow.errors import InputError, SlowOperationsWarning

MODULES = {
    "reference": "pyramidflow.ops.backend_reference",
    "cpu": "pyramidflow.ops.backend_cpu",
    "cuda": "pyramidflow.ops.backend_cuda",
    "triton": "pyramidflow.ops.backend_triton",
}
"""Module of each backend."""

PREFERENCE = {"cpu": ("cpu",), "cuda": ("cuda", "triton")}
"""Backends to try by device type, best first; ``triton`` on other devices, then the reference."""

ENVIRONMENT_VARIABLE = "PYRAMIDFLOW_BACKEND"

_override: str | None = None


@dataclass(frozen=True)
class Status:
    """Whether a backend can run here.

    Attributes:
        available: whether it can.
        reason: one sentence: what it runs on, or why it cannot run and what to do.
        details: compiler, instruction set, architectures, runtime and driver versions, by name.
    """

    available: bool
    reason: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BackendRecord:
    """A backend's name and :class:`Status`, as ``pyramidflow doctor`` prints them."""

    name: str
    available: bool
    reason: str
    details: Mapping[str, str]


def backends() -> list[BackendRecord]:
    """State of every backend on this machine, the reference first."""
    records = []
    for name in MODULES:
        state = status(name)
        records.append(BackendRecord(name, state.available, state.reason, state.details))
    return records


def active_backend(device_type: str) -> str:
    """Name of the backend that computes float32 operations on a device.

    Raises:
        InputError: the override is unknown, cannot run here, or does not take this device.
    """
    chosen = select(device_type, torch.float32)
    return next(name for name, module in MODULES.items() if module == chosen.__name__)


@cache
def status(name: str) -> Status:
    """State of one backend; whatever keeps it from running is a reason, not an error."""
    try:
        module = load(name)
    except InputError:
        raise
    except Exception as error:
        return Status(False, f"its module does not load: {one_line(error)}.")
    try:
        state: Status = module.status()
    except Exception as error:
        return Status(False, f"it cannot say what it runs on: {one_line(error)}.")
    return state


def one_line(error: Exception) -> str:
    """What a foreign error says, as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


@cache
def load(name: str) -> ModuleType:
    """Module of a backend.

    Raises:
        InputError: no backend has this name.
        ImportError: the module, or something it needs, is not installed.
    """
    _check_name(name)
    return importlib.import_module(MODULES[name])


def _check_name(name: str, given: str = "the backend") -> None:
    if name not in tuple(MODULES):
        raise InputError(f"{given} is {name!r}: choose one of {', '.join(MODULES)}.")


def require(name: str) -> ModuleType:
    """Module of a backend that can run.

    Raises:
        InputError: no backend has this name, or it cannot run here.
    """
    _check_name(name)
    state = status(name)
    if not state.available:
        raise InputError(
            f"the backend {name!r} is not available: {state.reason} Unset {ENVIRONMENT_VARIABLE} "
            "or choose another one; `pyramidflow doctor` lists them."
        )
    return load(name)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run the operations on one backend, whatever the device would choose by itself.

    It holds for the whole process while the context is open, and stands above the environment
    variable ``PYRAMIDFLOW_BACKEND``.

    Args:
        name: ``"reference"``, ``"cpu"``, ``"cuda"`` or ``"triton"``.

    Raises:
        InputError: no backend has this name, or it cannot run here.
    """
    global _override
    require(name)
    previous, _override = _override, name
    try:
        yield
    finally:
        _override = previous


def select(device_type: str, dtype: torch.dtype) -> ModuleType:
    """Backend that computes on tensors of this device and type.

    The override if there is one, else the best one available for the device: the reference, with a
    :class:`~pyramidflow.errors.SlowOperationsWarning`, where there is none. A type that the backend
    does not compute in goes to the reference, too.

    Raises:
        InputError: the override is unknown, cannot run here, or does not take this device.
    """
    forced = _override or os.environ.get(ENVIRONMENT_VARIABLE) or None
    if forced is not None:
        _check_name(forced, ENVIRONMENT_VARIABLE)
    return _select(forced, device_type, dtype)


@cache
def _select(forced: str | None, device_type: str, dtype: torch.dtype) -> ModuleType:
    module = _best_of(device_type) if forced is None else require(forced)
    if device_type not in module.DEVICES:
        raise InputError(
            f"the backend {forced!r} does not take tensors on {device_type!r}: move them to "
            f"{', '.join(sorted(module.DEVICES))}, or choose another backend."
        )
    return module if dtype in module.DTYPES else load("reference")


def _best_of(device_type: str) -> ModuleType:
    names = PREFERENCE.get(device_type, ("triton",))
    for name in names:
        if status(name).available and device_type in load(name).DEVICES:
            return load(name)
    reasons = " ".join(f"{name}: {status(name).reason}" for name in names)
    warnings.warn(
        f"operations on {device_type!r} run in plain PyTorch, many times slower: {reasons}",
        SlowOperationsWarning,
        stacklevel=2,
    )
    return load("reference")

"""Which backend runs an operation, and what stands in for an operation that it leaves out.

PyTorch dispatches: each operation is registered once, for every device, and what is registered
chooses among the backends. A registration for each dispatch key could not: two backends share
``CUDA``, :func:`use_backend` and ``PYRAMIDFLOW_BACKEND`` override the choice at any time, an
element type may send a call to the reference, and the tests run the CUDA sources on CPU tensors.

An operation that a backend leaves out is computed, in this order, by a backend that lends it, by
the operation's composite of the same backend's steps, or by the reference.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any

import torch

from pyramidflow.errors import InputError, SlowOperationsWarning
from pyramidflow.ops.backend import Backend, Status

BACKENDS = ("reference", "cpu", "cuda", "triton")
"""Names of all backends; each is an object ``BACKEND`` of ``ops/backend/<name>.py``."""

PREFERENCE = {"cpu": ("cpu",), "cuda": ("cuda", "triton")}
"""Backends to try by device type, best first; ``triton`` on other devices, then the reference."""

ENVIRONMENT_VARIABLE = "PYRAMIDFLOW_BACKEND"

_override: str | None = None


@dataclass(frozen=True)
class Operation:
    """What the choice needs to know of an operation.

    Attributes:
        name: as in ``torch.ops.pyramidflow``.
        package: of its family.
        taking_schema: turns a backend's function into one of the schema's arguments.
        composite: see :class:`pyramidflow.ops.op.Op`.
    """

    name: str
    package: str
    taking_schema: Callable[[Callable[..., Any]], Callable[..., Any]]
    composite: Callable[..., Any] | None


OPERATIONS: dict[str, Operation] = {}
"""Every registered operation, by name."""


@dataclass(frozen=True)
class BackendRecord:
    """A backend's name and :class:`~pyramidflow.ops.backend.Status`, as ``doctor`` prints them."""

    name: str
    available: bool
    reason: str
    details: Mapping[str, str]


def backends() -> list[BackendRecord]:
    """State of every backend on this machine, the reference first."""
    records = []
    for name in BACKENDS:
        state = status(name)
        records.append(BackendRecord(name, state.available, state.reason, state.details))
    return records


def active_backend(device_type: str) -> str:
    """Name of the backend that computes float32 operations on a device.

    Raises:
        InputError: the override is unknown, cannot run here, or does not take this device.
    """
    return select(device_type, torch.float32).name


@cache
def status(name: str) -> Status:
    """State of one backend; whatever keeps it from running is a reason, not an error."""
    try:
        backend = load(name)
    except InputError:
        raise
    except Exception as error:
        return Status(False, f"its module does not load: {one_line(error)}.")
    try:
        for operation in OPERATIONS.values():  # its files declare what it needs of a library
            _function(name, operation)
        return backend.status()
    except Exception as error:
        return Status(False, f"it cannot say what it runs on: {one_line(error)}.")


def one_line(error: Exception) -> str:
    """What a foreign error says, as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


@cache
def load(name: str) -> Backend:
    """A backend, loaded on first use: importing the package never fails for want of one.

    Raises:
        InputError: no backend has this name.
        ImportError: its module, or something it needs, is not installed.
    """
    _check_name(name)
    backend: Backend = importlib.import_module(f"pyramidflow.ops.backend.{name}").BACKEND
    return backend


def _check_name(name: str, given: str = "the backend") -> None:
    if name not in BACKENDS:
        raise InputError(f"{given} is {name!r}: choose one of {', '.join(BACKENDS)}.")


def require(name: str) -> Backend:
    """A backend that can run.

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


def select(device_type: str, dtype: torch.dtype) -> Backend:
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
def _select(forced: str | None, device_type: str, dtype: torch.dtype) -> Backend:
    backend = _best_of(device_type) if forced is None else require(forced)
    refusal = backend.refusal(device_type)
    if refusal:
        raise InputError(refusal)
    return backend if dtype in backend.dtypes else load("reference")


def _best_of(device_type: str) -> Backend:
    names = PREFERENCE.get(device_type, ("triton",))
    for name in names:
        if status(name).available and not load(name).refusal(device_type):
            return load(name)
    reasons = " ".join(f"{name}: {status(name).reason}" for name in names)
    warnings.warn(
        f"operations on {device_type!r} run in plain PyTorch, many times slower: {reasons}",
        SlowOperationsWarning,
        stacklevel=2,
    )
    return load("reference")


def implementation(backend: Backend, operation: str) -> Callable[..., Any]:
    """What computes an operation in a backend, from the schema's arguments."""
    return _implementation(backend.name, operation)[0]


def left_out(backend: Backend) -> dict[str, str]:
    """Operations that a backend leaves out, and what stands in for each."""
    found = {name: _implementation(backend.name, name)[1] for name in OPERATIONS}
    return {name: instead for name, instead in found.items() if instead}


@cache
def _implementation(backend: str, name: str) -> tuple[Callable[..., Any], str]:
    operation = OPERATIONS[name]
    own = _function(backend, operation)
    if own is not None:
        return operation.taking_schema(own), ""
    for lender in load(backend).lenders:
        lent = _function(lender, operation) if status(lender).available else None
        if lent is not None:
            return operation.taking_schema(lent), f"the backend {lender}"
    if operation.composite is not None:
        composed = partial(operation.composite, steps(backend))
        return operation.taking_schema(composed), "its composite"
    return _implementation("reference", name)[0], "the reference"


def _function(backend: str, operation: Operation) -> Callable[..., Any] | None:
    own = getattr(_module(f"{operation.package}.{backend}"), operation.name, None)
    shared = load(backend).shared
    if own is None and shared:
        common = getattr(_module(f"{operation.package}.{shared}"), operation.name, None)
        return None if common is None else partial(common, backend)
    return own


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


class Steps:
    """The operations of one backend as functions of the schema's arguments, by name."""

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in OPERATIONS:
            raise AttributeError(f"there is no operation {operation!r}.")
        found = _implementation(self._backend, operation)[0]
        setattr(self, operation, found)  # the next time it is found without a search
        return found


@cache
def steps(backend: str) -> Steps:
    """The operations of a backend, whatever the choice of backends: for composites and proofs."""
    return Steps(backend)

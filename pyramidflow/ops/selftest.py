"""Whether a backend computes what it should on this machine: every operation on a small map."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import dispatch
from pyramidflow.ops.backend import Backend
from pyramidflow.ops.op import OPS
from pyramidflow.ops.samples import CHANNELS, HEIGHT, WIDTH, Calls, Samples
from pyramidflow.ops.tf32 import convolutions_with_tf32

FORWARD_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
"""Relative errors allowed in float32."""


@dataclass(frozen=True)
class SelfTest:
    """What one operation of a backend did.

    Attributes:
        operation: name in ``torch.ops.pyramidflow``.
        relative_error: ``‖result − oracle‖ / ‖oracle‖``, the largest of all results; ``None`` where
            there is no finite one.
        tolerance: the largest error allowed.
        ok: whether the operation ran and its error is allowed.
        reason: what is wrong, one sentence; empty if nothing is.
    """

    operation: str
    relative_error: float | None
    tolerance: float
    ok: bool
    reason: str = ""


def selftest(backend: str) -> list[SelfTest]:
    """Run every operation of a backend on a small map, and compare with the oracle in float64.

    It takes a fraction of a second where the kernels are compiled already, and never raises: what
    goes wrong is the reason of the operation that it went wrong in.

    Args:
        backend: name of a backend, as :func:`pyramidflow.ops.backend` lists them.

    Returns:
        One result for each operation, in the order of the table.
    """
    calls = cases()
    return [_test(backend, name, calls[name]) for name in OPS]


def _test(backend: str, operation: str, calls: Sequence[tuple[Any, ...]]) -> SelfTest:
    tolerance = GRADIENT_TOLERANCE if operation.endswith("backward") else FORWARD_TOLERANCE
    try:
        error = max(_error(dispatch.require(backend), operation, call) for call in calls)
    except Exception as raised:
        lines = str(raised).strip().splitlines() or ["without a message"]
        reason = f"{operation} did not run ({type(raised).__name__}): {lines[0]}"
        return SelfTest(operation, None, tolerance, False, reason)
    if not math.isfinite(error):
        reason = f"{operation} gave numbers that are not finite, or of another shape."
        return SelfTest(operation, None, tolerance, False, reason)
    if error > tolerance:
        reason = f"{operation} is off by {error:.1e}, more than {tolerance:.0e}."
        return SelfTest(operation, error, tolerance, False, reason)
    return SelfTest(operation, error, tolerance, True)


def _error(backend: Backend, operation: str, arguments: tuple[Any, ...]) -> float:
    device = _device(backend)
    reference = dispatch.implementation(dispatch.load("reference"), operation)
    exact = convolutions_with_tf32(False) if device == "cuda" else nullcontext()
    with exact:
        results = _tensors(
            dispatch.implementation(backend, operation)(*_each(arguments, _on(device)))
        )
    expected = _tensors(reference(*_each(arguments, _double)))
    if [r.shape for r in results] != [e.shape for e in expected]:
        return math.inf
    errors = [_relative_error(*pair) for pair in zip(results, expected, strict=True)]
    # max() would pass over a NaN that is not the first.
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def _device(backend: Backend) -> str:
    candidates = ("cpu", "cuda", "xpu") if torch.cuda.is_available() else ("cpu", "xpu", "cuda")
    return next(device for device in candidates if not backend.refusal(device))


def _relative_error(result: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    # Log-determinants are sums over a sample that nearly cancel: their terms are of size 1.
    terms = CHANNELS * HEIGHT * WIDTH if expected.dim() == 1 else 0
    scale = max(float(expected.norm()), terms) or 1.0
    return float((result.cpu().double() - expected).norm()) / scale


def _tensors(results: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [results] if isinstance(results, Tensor) else results


def _each(arguments: Sequence[Any], change: Callable[[Any], Any]) -> list[Any]:
    return [_each(a, change) if isinstance(a, list) else change(a) for a in arguments]


def _on(device: str) -> Callable[[Any], Any]:
    return lambda value: value.to(device) if isinstance(value, Tensor) else value


def _double(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return torch.float64
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def cases() -> dict[str, Calls]:
    """Arguments of every operation, on the CPU in float32, for each of its modes."""
    samples = Samples()
    return {name: op.samples(samples) for name, op in OPS.items()}

"""Comparisons of the Triton backend with the oracle."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.backend.launch import INTERPRETED
from pyramidflow.ops.dispatch import steps
from tests.support.devices import moved
from tests.support.guarded import guarded_memory, surrounded
from tests.support.maxima import assert_same_places

ours_of, oracle_of = steps("triton"), steps("reference")

DEVICE = "cpu" if INTERPRETED else "cuda"


def draw(*size: int, layout: str = "contiguous", dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers in one of the layouts; ``strided`` is neither dense nor in order."""
    x = torch.randn(size).to(dtype)
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        wide = torch.zeros((*size[:2], size[3] + 1, 2 * size[2]), dtype=dtype)
        view = wide.transpose(2, 3)[:, :, ::2, 1:]
        view.copy_(x)
        return view
    return x


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    return [_map(function, v) for v in value] if isinstance(value, list | tuple) else value


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _results(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.cpu().double() - expected.double()
    return float(difference.norm() / expected.double().norm().clamp_min(1e-300))


def compare(name: str, *arguments: Any, tolerance: float, log_det: int | None = None) -> None:
    """Compare every result of an operation with the oracle's in float64.

    float32 within ``tolerance``; half types within twice the error of plain PyTorch. The result
    number ``log_det`` is a sum over a sample that may cancel: its error is measured per element.
    """
    arguments = surrounded(arguments)
    first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
    with guarded_memory():
        actual = _results(getattr(ours_of, name)(*moved(arguments, DEVICE)))
    oracle = _results(getattr(oracle_of, name)(*_map(_double, arguments)))
    plain = _results(getattr(oracle_of, name)(*arguments))
    assert len(actual) == len(oracle)
    for number, (ours, exact, theirs) in enumerate(zip(actual, oracle, plain, strict=True)):
        assert ours.shape == exact.shape
        assert ours.dtype == theirs.dtype
        if exact.dim() == 4:
            assert ours.is_contiguous(memory_format=allocation.memory_format(ours))
        if not exact.is_floating_point():
            assert_same_places(first, ours.cpu(), exact)
            continue
        if not exact.numel() or exact.isnan().all():
            continue
        if number == log_det:
            elements = first[0].numel()
            error = float((ours.cpu().double() - exact).abs().max()) / elements
            reference_error = float((theirs.double() - exact).abs().max()) / elements
            limit = 1e-6
        else:
            error = relative_error(ours, exact)
            reference_error = relative_error(theirs, exact)
            limit = tolerance
        if ours.dtype != torch.float32:
            limit = max(limit, 2 * reference_error)
        assert error <= limit, f"result {number} of {name}: error {error:.2e}, limit {limit:.2e}"

"""Tensors in every layout, and the comparison of the CPU library with the oracle in float64."""

import math

import torch
from torch import Tensor

from pyramidflow.ops.dispatch import steps
from tests.support.guarded import surrounded
from tests.support.maxima import assert_same_places

cpu, oracle = steps("cpu"), steps("reference")

FORWARD, GRADIENT = 1e-5, 1e-4
"""Relative errors allowed by the design."""

LAYOUTS = ["contiguous", "channels-last", "strided"]


class Maker:
    """Reproducible tensors in one layout."""

    def __init__(self, layout: str, seed: int = 0) -> None:
        self.layout = layout
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        if self.layout == "strided":
            wide = torch.randn(*shape[:-1], 2 * shape[-1] + 1, generator=self.generator)
            return wide[..., 1::2]
        x = torch.randn(shape, generator=self.generator)
        if self.layout == "channels-last" and len(shape) == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x


def double(value):
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list):
        return [double(v) for v in value]
    return value


def compare(name: str, arguments: tuple, tolerance: float = FORWARD) -> None:
    arguments = surrounded(arguments)
    results = getattr(cpu, name)(*arguments)
    expected = getattr(oracle, name)(*(double(a) for a in arguments))
    if isinstance(results, Tensor):
        results, expected = [results], [expected]
    for position, (got, want) in enumerate(zip(results, expected, strict=True)):
        assert got.shape == want.shape, (name, position)
        if not got.is_floating_point():
            assert_same_places(arguments[0], got, want)
            continue
        assert got.dtype == torch.float32
        # What cancels is measured by the size of what was added up.
        size = max(want.norm().item(), summands(name, arguments, want) * math.sqrt(want.numel()))
        error = (got.double() - want).norm().item()
        assert error <= tolerance * size, (name, position, error / max(size, 1e-30))


def summands(name: str, arguments: tuple, result: Tensor) -> float:
    if "coupling" not in name or result.numel() == 0:
        return 0.0
    if result.dim() == 1:  # the log-determinant: a sum over a sample's elements, of size 1
        return math.sqrt(next(a for a in arguments if is_data(a) and a.dim() == 4)[0].numel())
    return 0.1 * max(a.abs().max().item() for a in arguments if is_data(a))


def is_data(value) -> bool:
    return isinstance(value, Tensor) and value.numel() > 0

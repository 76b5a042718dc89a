"""Which tensors a network's state has: what a file is held against before it is used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyramidflow.errors import InputError, shown

LARGEST_WEIGHT = 1e4
"""Magnitude in the convolutions; trained ones stay below 10. The spectral convolution
rounds by the largest product of a tile, and the soft clamp behind it hides how large that was: from
1e6 on, scores change by more than 1e-4 between backends."""


@dataclass(frozen=True)
class TensorKind:
    """What a tensor must be.

    Attributes:
        shapes: it has one of them.
        dtype: of its elements.
        is_positive: whether each has to be above zero.
        least: of its elements.
        most: likewise.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype
    least: float = -math.inf
    most: float = math.inf
    is_positive: bool = False

    @classmethod
    def like(cls, tensor: Tensor) -> "TensorKind":
        """As a tensor is, but float32 if it is of numbers with a point."""
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        return cls((tuple(tensor.shape),), dtype)


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, TensorKind]) -> None:
    """Refuse tensors that are not those expected, exactly.

    Args:
        tensors: by name.
        expected: by name.

    Raises:
        InputError: one is missing, too much, of another shape or type, not finite, or out of its
            range.
    """
    for name in expected:
        if name not in tensors:
            raise InputError(f"the tensor {name} is missing: it is expected there.")
    for name, tensor in tensors.items():
        if name not in expected:
            raise InputError(f"the tensor {shown(name)} is too much: nothing here has that name.")
        kind = expected[name]
        if tensor.dtype != kind.dtype or tuple(tensor.shape) not in kind.shapes:
            shapes = " or ".join(str(list(shape)) for shape in kind.shapes)
            raise InputError(
                f"the tensor {name} is {list(tensor.shape)} of {tensor.dtype}: {shapes} of "
                f"{kind.dtype} is expected."
            )
        _check_values(name, tensor, kind)


def _check_values(name: str, tensor: Tensor, kind: TensorKind) -> None:
    """Look at a tensor once: a file may hold hundreds of megabytes, and who starts waits for it."""
    if tensor.numel() == 0:
        return
    least, most = (float(value) for value in torch.aminmax(tensor))  # a number that is none is both
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError(
            f"the tensor {name} holds numbers that are not finite: finite ones are expected."
        )
    if kind.is_positive and least <= 0:
        raise InputError(
            f"the tensor {name} holds numbers that are not above zero: such are expected."
        )
    if least < kind.least or most > kind.most:
        raise InputError(
            f"the tensor {name} holds {least:g} to {most:g}: {kind.least:g} to {kind.most:g} is "
            "expected."
        )

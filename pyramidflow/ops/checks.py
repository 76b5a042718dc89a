"""Checks that several families share."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.errors import InputError

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Element types that the operations compute in."""

MAX_ELEMENTS = 1 << 40
"""Of one tensor: products of its sizes and strides then stay far inside 64 bits."""


def check_operands(**operands: object) -> None:
    """Refuse what is not a dense floating tensor, and tensors on several devices."""
    first, device = "", None
    for name, x in operands.items():
        x = check_tensor(name, x)
        if x.dtype not in FLOATING:
            raise InputError(
                f"{name} has elements of type {x.dtype}: give a tensor of float16, bfloat16, "
                "float32 or float64."
            )
        if device is None:
            first, device = name, x.device
        elif x.device != device:
            raise InputError(
                f"{name} is on {str(x.device)!r}, but {first} is on {str(device)!r}: move them to "
                "one device."
            )


def check_tensor(name: str, x: object) -> Tensor:
    """The argument, unless it is no tensor or has no strides."""
    if not isinstance(x, Tensor):
        raise InputError(f"{name} is of type {type(x).__name__}: give a tensor.")
    if x.layout is not torch.strided:
        raise InputError(f"{name} has the layout {x.layout}: give a dense tensor.")
    return x


def check_type(name: str, operand: Tensor | Sequence[Tensor], dtype: torch.dtype) -> None:
    """Refuse a tensor, or a list of them, of another element type."""
    for x in (operand,) if isinstance(operand, Tensor) else operand:
        if x.dtype is not dtype:
            raise InputError(f"{name} has elements of type {x.dtype}: give {dtype} like the rest.")


def check_level(name: str, x: Tensor) -> None:
    """Refuse what is not ``[B, C, H, W]``, or has no channel or no pixel."""
    shape = x.shape
    if len(shape) != 4:
        raise InputError(f"{name} has shape {list(shape)}: give a floating [B, C, H, W] tensor.")
    if shape[1] == 0 or shape[2] == 0 or shape[3] == 0:
        raise InputError(
            f"{name} has shape {list(shape)}: give [B, C, H, W] with one channel, one row and one "
            "column at least."
        )
    check_size(name, shape)


def check_size(name: str, shape: Sequence[int]) -> None:
    """Refuse more elements than can be addressed."""
    # A compiled program would be bound to what is compared here; it is checked when it runs.
    if torch.compiler.is_compiling() or any(isinstance(n, torch.SymInt) for n in shape):
        return
    if math.prod(shape) > MAX_ELEMENTS:
        raise InputError(
            f"{name} has shape {list(shape)}, more than {MAX_ELEMENTS} elements: give a smaller "
            "image, or fewer at a time."
        )


def check_shape(
    name: str, x: Tensor, expected: Sequence[int], source: str, given: Sequence[int]
) -> None:
    """Refuse another shape than the one that follows from another argument.

    Args:
        name: of the argument.
        x: the argument.
        expected: its shape.
        source: name of the argument that it follows from.
        given: shape of that one.
    """
    if tuple(x.shape) != tuple(expected):
        raise InputError(
            f"{name} has shape {list(x.shape)}, but {source} has {list(given)}: give "
            f"{list(expected)}."
        )


def check_same_shape(**tensors: Tensor) -> None:
    """Refuse tensors that differ in shape from the last one."""
    last, like = list(tensors.items())[-1]
    for name, x in tensors.items():
        check_shape(name, x, like.shape, last, like.shape)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} is {value!r}: choose one of {', '.join(choices)}.")


def half(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of the next coarser level."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2

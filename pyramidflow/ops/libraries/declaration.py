"""What ``ctypes`` passes for the arguments of a declared function."""

import ctypes
import typing
from collections.abc import Callable

from torch import Tensor

POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64


def sizes(x: Tensor) -> tuple[int, int, int, int]:
    """Sizes of a tensor ``[B, C, H, W]``, which are four."""
    batch, channels, height, width = x.shape
    return batch, channels, height, width


def argument_types(declared: Callable[..., object]) -> dict[str, type]:
    """By the names of its parameters: a pointer for a tensor, a C structure for itself.

    Args:
        declared: function whose parameters are annotated with ``Tensor``, ``Tensor | None``,
            ``int``, ``float``, or a type of ``ctypes``.
    """
    annotations = typing.get_type_hints(declared)
    annotations.pop("return", None)
    return {name: _ctype(annotation) for name, annotation in annotations.items()}


def _ctype(annotation: object) -> type:
    if annotation in (int, bool, int | None):
        return SIZE
    if annotation is float:
        return ctypes.c_float
    if annotation in (Tensor, Tensor | None):
        return POINTER
    if typing.get_origin(annotation) is ctypes.Array:
        return POINTER
    assert isinstance(annotation, type), annotation
    return annotation

"""Checks of the convolutions' rows."""

from typing import cast

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.checks.common import (
    check_choice,
    check_level,
    check_operands,
    check_same_shape,
    check_size,
    half,
)
from pyramidflow.ops.convolution import methods


def invertible_conv1x1(y: Tensor, weight: Tensor) -> None:
    """Of a level and a matrix."""
    check_operands(y=y, weight=weight)
    check_level("y", y)
    check_matrix(weight, y)


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> None:
    """Of a gradient, a level and a matrix."""
    check_operands(grad_z=grad_z, y=y, weight=weight)
    check_level("y", y)
    check_same_shape(grad_z=grad_z, y=y)
    check_matrix(weight, y)


def conv2d(x: Tensor, weight: Tensor, resample: str, tile: int) -> None:
    """Of an image, weights, and how to convolve."""
    check_operands(x=x, weight=weight)
    check_level("x", x)
    check_choice("resample", resample, ("none", "up", "down"))
    check_kernel("weight", weight, x.shape[1])
    check_size("the result", convolved_shape(x, weight, resample))
    if tile != methods.AUTOMATIC:
        check_tile(x, weight, resample, tile)


def conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    resample: str,
    tile: int,
    need_x: bool,
    need_weight: bool,
) -> None:
    """Of a gradient and the arguments of :func:`conv2d`."""
    conv2d(x, weight, resample, tile)
    check_operands(grad_y=grad_y, x=x)
    expected = convolved_shape(x, weight, resample)
    if tuple(grad_y.shape) != expected:
        raise InputError(
            f"grad_y has shape {list(grad_y.shape)}, but the result has {list(expected)}: give "
            "the gradient of the result."
        )


def convolved_shape(x: Tensor, weight: Tensor, resample: str) -> tuple[int, int, int, int]:
    """Shape of a convolution's result."""
    height, width = x.shape[2:]
    if resample == "up":
        height, width = 2 * height, 2 * width
    elif resample == "down":
        height, width = half((height, width))
    return x.shape[0], weight.shape[0], height, width


def check_matrix(weight: Tensor, y: Tensor) -> None:
    """Refuse a matrix that is not ``[C, C]`` for ``y``'s channels."""
    channels = y.shape[1]
    if tuple(weight.shape) != (channels, channels):
        raise InputError(
            f"weight has shape {list(weight.shape)}, but the level has {channels} channels: "
            f"give a [{channels}, {channels}] matrix."
        )


def check_kernel(name: str, weight: Tensor, inputs: int, outputs: int | None = None) -> None:
    """Refuse weights that are not ``[O, I, k, k]`` with an odd ``k`` and an output at least.

    Args:
        name: of the argument.
        weight: the argument.
        inputs: ``I``.
        outputs: ``O``, if it is not free.
    """
    shape = weight.shape
    if (
        len(shape) != 4
        or shape[1] != inputs
        or shape[0] == 0
        or outputs not in (None, shape[0])
        or shape[2] != shape[3]
        or shape[2] % 2 == 0
    ):
        raise InputError(
            f"{name} has shape {list(shape)}, but the image has {inputs} channels: "
            f"give [{outputs or 'O'}, {inputs}, k, k] with an odd k."
        )


def check_tile(x: Tensor, weight: Tensor, resample: str, tile: object) -> None:
    """Refuse a tile that the kernels do not have, or not for this convolution."""
    if type(tile) is not int or tile not in (0, *methods.TILES):
        raise InputError(f"tile is {tile!r}: choose one of 0, {str(methods.TILES)[1:-1]}.")
    batch, channels, height, width = x.shape
    resampling = cast(methods.Resampling, resample)
    size = (batch, channels, len(weight), height, width, weight.shape[3])
    methods.with_tile(methods.Convolution(*size, resampling), tile)

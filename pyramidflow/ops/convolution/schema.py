"""The convolution's operations.

Where a backend has no convolution, its composite is the device's own library's.
"""

from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import check_choice, check_level, check_operands, check_size, half
from pyramidflow.ops.convolution import direct
from pyramidflow.ops.convolution.convolved import Convolved
from pyramidflow.ops.op import NAMESPACE_OPS, Op, empty_like, register
from pyramidflow.ops.samples import CHANNELS, Calls, Samples


def check_conv2d(x: Tensor, weight: Tensor, resample: str) -> None:
    """Of an image, weights, and how to convolve."""
    check_operands(x=x, weight=weight)
    check_level("x", x)
    check_choice("resample", resample, ("none", "up", "down"))
    check_kernel("weight", weight, x.shape[1])
    check_size("the result", convolved_shape(x, weight, resample))


def check_conv2d_backward(grad_y: Tensor, convolved: Convolved) -> None:
    """Of a gradient and the arguments of :func:`check_conv2d`."""
    check_conv2d(*convolved[:3])
    check_operands(grad_y=grad_y, x=convolved.x)
    expected = convolved_shape(*convolved[:3])
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


def _fake_conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
    return allocation.empty(convolved_shape(x, weight, resample), like=x)


def _fake_conv2d_backward(grad_y: Tensor, convolved: Convolved) -> tuple[Tensor, Tensor]:
    x, weight, _, need_x, need_weight = convolved
    return (
        empty_like(x) if need_x else x.new_empty(0),
        torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        if need_weight
        else weight.new_empty(0),
    )


def _save_conv2d(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.resample = inputs
    ctx.save_for_backward(x, weight)


def _conv2d_backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    need_x, need_weight = ctx.needs_input_grad[:2]
    grad_x, grad_weight = NAMESPACE_OPS.conv2d_backward(
        grad_y, x, weight, ctx.resample, need_x, need_weight
    )
    return grad_x if need_x else None, grad_weight if need_weight else None, None


def _samples(s: Samples) -> Calls:
    weight = s.draw(CHANNELS, CHANNELS, 3, 3)
    return [(s.level, weight, resample) for resample in ("none", "up", "down")]


def _backward_samples(s: Samples) -> Calls:
    return [(s.draw(*convolved_shape(*call)), *call, True, True) for call in _samples(s)]


register(
    __package__,
    Op(
        "conv2d(Tensor x, Tensor weight, str resample) -> Tensor",
        check=check_conv2d,
        fake=_fake_conv2d,
        samples=_samples,
        save=_save_conv2d,
        backward=_conv2d_backward,
        composite=lambda _steps, *convolved: direct.conv2d(*convolved),
    ),
    Op(
        "conv2d_backward(Tensor grad_y, Tensor x, Tensor weight, str resample,"
        " bool need_x, bool need_weight) -> (Tensor grad_x, Tensor grad_weight)",
        check=check_conv2d_backward,
        gathered=Convolved,
        fake=_fake_conv2d_backward,
        samples=_backward_samples,
        composite=lambda _steps, *convolved: direct.conv2d_backward(*convolved),
    ),
)

"""The 1×1 convolution's operations."""

from typing import Any

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import check_level, check_operands, check_same_shape
from pyramidflow.ops.op import NAMESPACE_OPS, Op, empty_like, register


def check_invertible_conv1x1(y: Tensor, weight: Tensor) -> None:
    """Of a level and a matrix."""
    check_operands(y=y, weight=weight)
    check_level("y", y)
    check_matrix(weight, y)


def check_invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> None:
    """Of a gradient, a level and a matrix."""
    check_operands(grad_z=grad_z, y=y, weight=weight)
    check_level("y", y)
    check_same_shape(grad_z=grad_z, y=y)
    check_matrix(weight, y)


def check_matrix(weight: Tensor, y: Tensor) -> None:
    """Refuse a matrix that is not ``[C, C]`` for ``y``'s channels."""
    channels = y.shape[1]
    if tuple(weight.shape) != (channels, channels):
        raise InputError(
            f"weight has shape {list(weight.shape)}, but the level has {channels} channels: "
            f"give a [{channels}, {channels}] matrix."
        )


def _fake_invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    return empty_like(y)


def _fake_invertible_conv1x1_backward(
    grad_z: Tensor, y: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    return empty_like(y), allocation.empty(weight.shape, like=weight)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _invertible_conv1x1_backward(ctx: Any, grad_z: Tensor) -> tuple[Any, ...]:
    y, weight = ctx.saved_tensors
    grad_y, grad_weight = NAMESPACE_OPS.invertible_conv1x1_backward(grad_z, y, weight)
    return grad_y, grad_weight


register(
    __package__,
    Op(
        "invertible_conv1x1(Tensor y, Tensor weight) -> Tensor",
        check=check_invertible_conv1x1,
        fake=_fake_invertible_conv1x1,
        samples=lambda s: [(s.level, s.matrix)],
        save=_save_inputs,
        backward=_invertible_conv1x1_backward,
    ),
    Op(
        "invertible_conv1x1_backward(Tensor grad_z, Tensor y, Tensor weight)"
        " -> (Tensor grad_y, Tensor grad_weight)",
        check=check_invertible_conv1x1_backward,
        fake=_fake_invertible_conv1x1_backward,
        samples=lambda s: [(s.draw(*s.level.shape), s.level, s.matrix)],
    ),
)

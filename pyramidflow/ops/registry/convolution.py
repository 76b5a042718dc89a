"""Rows of the convolutions: of every pixel's channels, and of neighbouring pixels."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.checks import convolution as checks
from pyramidflow.ops.registry.op import NAMESPACE_OPS, Op, empty_like


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


def _fake_conv2d(x: Tensor, weight: Tensor, resample: str, tile: int) -> Tensor:
    height, width = x.shape[2:]
    if resample == "up":
        height, width = 2 * height, 2 * width
    elif resample == "down":
        height, width = (height + 1) // 2, (width + 1) // 2
    return allocation.empty((x.shape[0], weight.shape[0], height, width), like=x)


def _fake_conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    resample: str,
    tile: int,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    return (
        empty_like(x) if need_x else x.new_empty(0),
        torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        if need_weight
        else weight.new_empty(0),
    )


def _save_conv2d(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.resample, ctx.tile = inputs
    ctx.save_for_backward(x, weight)


def _conv2d_backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    need_x, need_weight = ctx.needs_input_grad[:2]
    grad_x, grad_weight = NAMESPACE_OPS.conv2d_backward(
        grad_y, x, weight, ctx.resample, ctx.tile, need_x, need_weight
    )
    return grad_x if need_x else None, grad_weight if need_weight else None, None, None


OPS = (
    Op(
        "invertible_conv1x1(Tensor y, Tensor weight) -> Tensor",
        check=checks.invertible_conv1x1,
        fake=_fake_invertible_conv1x1,
        save=_save_inputs,
        backward=_invertible_conv1x1_backward,
    ),
    Op(
        "invertible_conv1x1_backward(Tensor grad_z, Tensor y, Tensor weight)"
        " -> (Tensor grad_y, Tensor grad_weight)",
        check=checks.invertible_conv1x1_backward,
        fake=_fake_invertible_conv1x1_backward,
    ),
    Op(
        "conv2d(Tensor x, Tensor weight, str resample, int tile) -> Tensor",
        check=checks.conv2d,
        fake=_fake_conv2d,
        save=_save_conv2d,
        backward=_conv2d_backward,
    ),
    Op(
        "conv2d_backward(Tensor grad_y, Tensor x, Tensor weight, str resample, int tile,"
        " bool need_x, bool need_weight) -> (Tensor grad_x, Tensor grad_weight)",
        check=checks.conv2d_backward,
        fake=_fake_conv2d_backward,
    ),
)

"""Rows of the pyramid: one level down, the detail between two levels, and back."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.checks import pyramid as checks
from pyramidflow.ops.registry.op import NAMESPACE_OPS, Op, empty_like, nothing


def _fake_pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    half = (*x.shape[:2], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
    if reduction == "max":
        index = allocation.empty(half, like=x, dtype=torch.uint8)
    else:
        index = nothing(x, torch.uint8)
    return allocation.empty(half, like=x), index


def _fake_pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    return allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)


def _save_pyramid_down(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.reduction = inputs
    ctx.height, ctx.width = x.shape[2:]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _pyramid_down_backward(ctx: Any, grad_y: Tensor, _grad_index: Any) -> tuple[Any, ...]:
    (index,) = ctx.saved_tensors
    grad_x = NAMESPACE_OPS.pyramid_down_backward(
        grad_y, index, ctx.height, ctx.width, ctx.reduction
    )
    return grad_x, None


def _fake_pyramid_up_backward(grad: Tensor) -> Tensor:
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    return allocation.empty(half, like=grad)


def _pyramid_residual_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    need_fine, need_coarse = ctx.needs_input_grad
    return (
        grad if need_fine else None,
        NAMESPACE_OPS.pyramid_up_backward(grad).neg() if need_coarse else None,
    )


def _pyramid_merge_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    need_coarse, need_residual = ctx.needs_input_grad
    return (
        NAMESPACE_OPS.pyramid_up_backward(grad) if need_coarse else None,
        grad if need_residual else None,
    )


OPS = (
    Op(
        "pyramid_down(Tensor x, str reduction) -> (Tensor y, Tensor index)",
        check=checks.pyramid_down,
        fake=_fake_pyramid_down,
        save=_save_pyramid_down,
        backward=_pyramid_down_backward,
    ),
    Op(
        "pyramid_down_backward(Tensor grad_y, Tensor index, SymInt height, SymInt width,"
        " str reduction) -> Tensor",
        check=checks.pyramid_down_backward,
        apart=("index",),
        fake=_fake_pyramid_down_backward,
    ),
    Op(
        "pyramid_residual(Tensor fine, Tensor coarse) -> Tensor",
        check=checks.pyramid_residual,
        fake=lambda fine, coarse: empty_like(fine),
        backward=_pyramid_residual_backward,
    ),
    Op(
        "pyramid_merge(Tensor coarse, Tensor residual) -> Tensor",
        check=checks.pyramid_merge,
        fake=lambda coarse, residual: empty_like(residual),
        backward=_pyramid_merge_backward,
    ),
    Op(
        "pyramid_up_backward(Tensor grad) -> Tensor",
        check=checks.pyramid_up_backward,
        fake=_fake_pyramid_up_backward,
    ),
)

"""The pyramid's operations: one level down, the detail between two levels, and back."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import check_choice, check_level, check_operands, check_shape, half
from pyramidflow.ops.op import NAMESPACE_OPS, Op, empty_like, register
from pyramidflow.ops.samples import HEIGHT, WIDTH, Calls, Samples


def coarse_shape(fine: Tensor) -> tuple[int, ...]:
    """Shape of the next coarser level: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``."""
    return (*fine.shape[:2], *half(fine.shape[2:]))


def check_pyramid_down(x: Tensor, reduction: str) -> None:
    """Of a level and its reduction."""
    check_operands(x=x)
    check_level("x", x)
    check_choice("reduction", reduction, ("nearest", "max"))


def check_pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> None:
    """Of a gradient, and of the places that its pixels were taken from."""
    check_operands(grad_y=grad_y)
    check_level("grad_y", grad_y)
    check_choice("reduction", reduction, ("nearest", "max"))
    if tuple(grad_y.shape[2:]) != half((height, width)):
        raise InputError(
            f"grad_y has shape {list(grad_y.shape)}, but the level has [{height}, {width}] pixels: "
            f"give a level of {list(half((height, width)))}."
        )
    if reduction == "max":
        if index.dtype != torch.uint8 or index.device != grad_y.device:
            raise InputError(
                f"index has elements of type {index.dtype} on {str(index.device)!r}: give uint8 on "
                f"{str(grad_y.device)!r}, where grad_y is."
            )
        check_shape("index", index, grad_y.shape, "grad_y", grad_y.shape)


def check_pyramid_residual(fine: Tensor, coarse: Tensor) -> None:
    """Of two neighbouring levels."""
    _check_neighbours("fine", fine, coarse)


def check_pyramid_merge(coarse: Tensor, residual: Tensor) -> None:
    """Of two neighbouring levels."""
    _check_neighbours("residual", residual, coarse)


def check_pyramid_up_backward(grad: Tensor) -> None:
    """Of the gradient of a level."""
    check_operands(grad=grad)
    check_level("grad", grad)


def _check_neighbours(name: str, fine: Tensor, coarse: Tensor) -> None:
    check_operands(**{name: fine, "coarse": coarse})
    check_level(name, fine)
    check_shape("coarse", coarse, coarse_shape(fine), name, fine.shape)


def _fake_pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    size = coarse_shape(x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    return allocation.empty(size, like=x), index


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
    return allocation.empty(coarse_shape(grad), like=grad)


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


def _down_backward_samples(s: Samples) -> Calls:
    index = s.pixels(torch.uint8, *s.coarse.shape) % 2
    return [
        (s.coarse, index.new_empty(0), HEIGHT, WIDTH, "nearest"),
        (s.coarse, index, HEIGHT, WIDTH, "max"),
    ]


register(
    __package__,
    Op(
        "pyramid_down(Tensor x, str reduction) -> (Tensor y, Tensor index)",
        check=check_pyramid_down,
        fake=_fake_pyramid_down,
        samples=lambda s: [(s.level, "nearest"), (s.level, "max")],
        save=_save_pyramid_down,
        backward=_pyramid_down_backward,
    ),
    Op(
        "pyramid_down_backward(Tensor grad_y, Tensor index, SymInt height, SymInt width,"
        " str reduction) -> Tensor",
        check=check_pyramid_down_backward,
        apart=("index",),
        fake=_fake_pyramid_down_backward,
        samples=_down_backward_samples,
    ),
    Op(
        "pyramid_residual(Tensor fine, Tensor coarse) -> Tensor",
        check=check_pyramid_residual,
        fake=lambda fine, coarse: empty_like(fine),
        samples=lambda s: [(s.level, s.coarse)],
        backward=_pyramid_residual_backward,
    ),
    Op(
        "pyramid_merge(Tensor coarse, Tensor residual) -> Tensor",
        check=check_pyramid_merge,
        fake=lambda coarse, residual: empty_like(residual),
        samples=lambda s: [(s.coarse, s.level)],
        backward=_pyramid_merge_backward,
    ),
    Op(
        "pyramid_up_backward(Tensor grad) -> Tensor",
        check=check_pyramid_up_backward,
        fake=_fake_pyramid_up_backward,
        samples=lambda s: [(s.level,)],
    ),
)

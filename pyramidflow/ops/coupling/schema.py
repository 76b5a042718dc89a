"""The affine coupling's operations: alone, inverted, and with the convolutions around it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import (
    check_choice,
    check_level,
    check_operands,
    check_same_shape,
    check_shape,
    half,
)
from pyramidflow.ops.conv1x1.schema import check_matrix
from pyramidflow.ops.convolution.schema import check_kernel
from pyramidflow.ops.coupling import composite, samples
from pyramidflow.ops.coupling.mode import Block, Coupled, CouplingMode
from pyramidflow.ops.op import NAMESPACE_OPS, Op, empty_like, nothing, register

_COUPLING = "str volume_norm, str statistics, float clamp"
_MODE = f"{_COUPLING}, bool with_log_det=True"

MEAN_DIMS = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
    ("none", "sample"): (0, 1, 2, 3),
    ("none", "batch"): (0, 1, 2, 3),
}
"""Dimensions of size 1 in the mean that a coupling takes from its parameters."""


def mean_shape(params: Tensor, mode: CouplingMode) -> list[int]:
    """Shape of the mean that a coupling takes from parameters ``[B, 2C, H', W']``."""
    full = [params.shape[0], params.shape[1] // 2, params.shape[2], params.shape[3]]
    reduced = MEAN_DIMS[mode.volume_norm, mode.statistics]
    return [1 if dim in reduced else size for dim, size in enumerate(full)]


def check_affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> None:
    """Of a level, the parameters of its coupling and the mean that it loses."""
    check_operands(x=x, params=params, **_optional(mean))
    _check_shapes(x, params, mode)
    if mean is not None:
        _check_mean(mean, (*x.shape[:2], *params.shape[2:]))


def check_affine_coupling_backward(grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled) -> None:
    """Of the gradients of a coupling's results, and of its arguments."""
    x, params, mean, *_ = coupled
    check_operands(grad_y=grad_y, grad_log_det=grad_log_det, x=x, params=params, mean_used=mean)
    _check_shapes(x, params, coupled.mode)
    check_same_shape(grad_y=grad_y, x=x)
    check_shape("grad_log_det", grad_log_det, x.shape[:1], "x", x.shape)
    if coupled.mean_given:
        _check_mean(mean, (*x.shape[:2], *params.shape[2:]))
    else:
        taken = mean_shape(params, coupled.mode)
        check_shape("mean_used", mean, taken, "params", params.shape)


def check_coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> None:
    """Of :func:`check_affine_coupling`'s arguments and a matrix."""
    check_operands(x=x, params=params, weight=weight, **_optional(mean))
    _check_shapes(x, params, mode)
    if mean is not None:
        _check_mean(mean, (*x.shape[:2], *params.shape[2:]))
    check_matrix(weight, x)


def check_coupling_conv1x1_backward(
    grad_z: Tensor, grad_log_det: Tensor, weight: Tensor, coupled: Coupled
) -> None:
    """Of :func:`check_affine_coupling_backward`'s arguments and a matrix."""
    check_affine_coupling_backward(grad_z, grad_log_det, coupled)
    check_operands(x=coupled.x, weight=weight)
    check_matrix(weight, coupled.x)


def check_conv_coupling_conv1x1(
    block: Block,
) -> None:
    """Of a level, and of what its coupling's parameters are convolved from."""
    x, hidden, kernel, mean, weight, resample, clamp = block
    check_operands(x=x, hidden=hidden, kernel=kernel, mean=mean, weight=weight)
    check_level("x", x)
    check_level("hidden", hidden)
    check_matrix(weight, x)
    batch, channels, height, width = x.shape
    check_kernel("kernel", kernel, hidden.shape[1], outputs=2 * channels)
    check_choice("resample", resample, ("none", "down"))
    reached = half(hidden.shape[2:]) if resample == "down" else tuple(hidden.shape[2:])
    if (batch, height, width) != (hidden.shape[0], *reached):
        raise InputError(
            f"x has shape {list(x.shape)}, but hidden {list(hidden.shape)} "
            f"gives {[hidden.shape[0], channels, *reached]}: give levels of fitting sizes."
        )
    _check_mean(mean, x.shape)
    _check_clamp(clamp)


def _optional(mean: Tensor | None) -> dict[str, Tensor]:
    return {} if mean is None else {"mean": mean}


def _check_shapes(x: Tensor, params: Tensor, mode: CouplingMode) -> None:
    if not isinstance(mode, CouplingMode):
        raise InputError(f"mode is of type {type(mode).__name__}: give a CouplingMode.")
    check_level("the transformed level", x)
    check_level("params", params)
    check_choice("volume_norm", mode.volume_norm, ("cvn", "svn", "none"))
    check_choice("statistics", mode.statistics, ("sample", "batch"))
    _check_clamp(mode.clamp)
    batch, channels = x.shape[:2]
    if tuple(params.shape[:2]) != (batch, 2 * channels):
        raise InputError(
            f"params has shape {list(params.shape)}, but the level has {list(x.shape)}: "
            f"give [{batch}, {2 * channels}, H', W']."
        )


def _check_mean(mean: Tensor, full: Sequence[int]) -> None:
    if mean.dim() != 4 or any(m not in (1, n) for m, n in zip(mean.shape, full, strict=True)):
        raise InputError(
            f"the mean has shape {list(mean.shape)}, which does not broadcast to {list(full)}: "
            "a model with channel volume normalisation works only at its training's image size."
        )


def _check_clamp(clamp: object) -> None:
    if not isinstance(clamp, (int, float)) or not 0 < clamp < math.inf:
        raise InputError(f"clamp is {clamp!r}: give a positive number.")


def log_det_dtype(x: Tensor) -> torch.dtype:
    """Type of a coupling's log-determinants: a sum over a sample leaves float16's range."""
    return torch.promote_types(x.dtype, torch.float32)


def _fake_affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(x), _fake_mean(params, mean, mode), _fake_log_det(x, mode)


def _fake_mean(params: Tensor, mean: Tensor | None, mode: CouplingMode) -> Tensor:
    if mean is not None:
        return nothing(params)
    return allocation.empty(mean_shape(params, mode), like=params)


def _fake_log_det(x: Tensor, mode: CouplingMode) -> Tensor:
    if not mode.with_log_det:
        return nothing(x, dtype=log_det_dtype(x))
    return allocation.empty((x.shape[0],), like=x, dtype=log_det_dtype(x))


def _fake_affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    return empty_like(coupled.x), empty_like(coupled.params)


def _save_coupling(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, params, mean, *others = inputs
    count = len(others) - len(CouplingMode._fields)
    weight = others[:count]  # of a 1×1 convolution, or none
    ctx.mode = CouplingMode(*others[count:])
    _, mean_used, log_det = output
    ctx.mean_given = mean is not None
    ctx.save_for_backward(x, params, mean_used if mean is None else mean, *weight)
    ctx.mark_non_differentiable(mean_used, *([] if ctx.mode.with_log_det else [log_det]))


def _of_log_det(ctx: Any, grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of a log-determinant, which is zero where none was asked for."""
    return grad if ctx.mode.with_log_det else grad.new_zeros(x.shape[0])


def _of_one_direction(name: str, given: str, result: str) -> tuple[Op, Op]:
    """The operation of a coupling without a 1×1 convolution, and its gradient."""

    def backward(ctx: Any, grad: Tensor, _grad_mean: Any, grad_log_det: Tensor) -> tuple[Any, ...]:
        x, params, mean = ctx.saved_tensors
        grad_log_det = _of_log_det(ctx, grad_log_det, x)
        grad_x, grad_params = getattr(NAMESPACE_OPS, f"{name}_backward")(
            grad, grad_log_det, x, params, mean, ctx.mean_given, *ctx.mode[:3]
        )
        return grad_x, grad_params, None, None, None, None, None

    return (
        Op(
            f"{name}(Tensor {given}, Tensor params, Tensor? mean, {_MODE})"
            f" -> (Tensor {result}, Tensor mean_used, Tensor log_det)",
            check=check_affine_coupling,
            gathered=CouplingMode,
            fake=_fake_affine_coupling,
            samples=samples.couplings,
            save=_save_coupling,
            backward=backward,
        ),
        Op(
            f"{name}_backward(Tensor grad_{result}, Tensor grad_log_det, Tensor {given},"
            f" Tensor params, Tensor mean_used, bool mean_given, {_COUPLING})"
            f" -> (Tensor grad_{given}, Tensor grad_params)",
            check=check_affine_coupling_backward,
            gathered=Coupled,
            apart=("grad_log_det",),
            fake=_fake_affine_coupling_backward,
            samples=samples.gradients,
        ),
    )


def _fake_coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(x), _fake_mean(params, mean, mode), _fake_log_det(x, mode)


def _fake_coupling_conv1x1_backward(
    grad_z: Tensor, grad_log_det: Tensor, weight: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor, Tensor]:
    grads = (empty_like(coupled.x), empty_like(coupled.params))
    return *grads, allocation.empty(weight.shape, like=weight)


def _coupling_conv1x1_backward(
    ctx: Any, grad_z: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    x, params, mean, weight = ctx.saved_tensors
    grad_log_det = _of_log_det(ctx, grad_log_det, x)
    grad_x, grad_params, grad_weight = NAMESPACE_OPS.coupling_conv1x1_backward(
        grad_z, grad_log_det, weight, x, params, mean, ctx.mean_given, *ctx.mode[:3]
    )
    return grad_x, grad_params, None, grad_weight, None, None, None, None


register(
    __package__,
    *_of_one_direction("affine_coupling", given="x", result="y"),
    *_of_one_direction("affine_coupling_inverse", given="y", result="x"),
    Op(
        f"coupling_conv1x1(Tensor x, Tensor params, Tensor? mean, Tensor weight, {_MODE})"
        " -> (Tensor z, Tensor mean_used, Tensor log_det)",
        check=check_coupling_conv1x1,
        gathered=CouplingMode,
        fake=_fake_coupling_conv1x1,
        samples=samples.mixed,
        composite=composite.coupling_conv1x1,
        save=_save_coupling,
        backward=_coupling_conv1x1_backward,
    ),
    Op(
        "coupling_conv1x1_backward(Tensor grad_z, Tensor grad_log_det, Tensor weight, Tensor x,"
        f" Tensor params, Tensor mean_used, bool mean_given, {_COUPLING})"
        " -> (Tensor grad_x, Tensor grad_params, Tensor grad_weight)",
        check=check_coupling_conv1x1_backward,
        gathered=Coupled,
        apart=("grad_log_det",),
        fake=_fake_coupling_conv1x1_backward,
        samples=samples.mixed_gradients,
        composite=composite.coupling_conv1x1_backward,
    ),
    Op(
        "conv_coupling_conv1x1(Tensor x, Tensor hidden, Tensor kernel, Tensor mean, Tensor weight,"
        " str resample, float clamp) -> Tensor",
        check=check_conv_coupling_conv1x1,
        gathered=Block,
        fake=lambda block: empty_like(block.x),
        samples=samples.blocks,
        composite=composite.conv_coupling_conv1x1,
    ),
)

"""Rows of the affine coupling: alone, inverted, and with the convolutions around it."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.checks import coupling as checks
from pyramidflow.ops.checks.coupling import mean_shape
from pyramidflow.ops.registry.op import NAMESPACE_OPS, Op, empty_like, nothing

_COUPLING = "str volume_norm, str statistics, float clamp"


def log_det_dtype(x: Tensor) -> torch.dtype:
    """Type of a coupling's log-determinants: a sum over a sample leaves float16's range."""
    return torch.promote_types(x.dtype, torch.float32)


def _fake_affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(x), _fake_mean(params, mean, volume_norm, statistics), _fake_log_det(x)


def _fake_mean(params: Tensor, mean: Tensor | None, volume_norm: str, statistics: str) -> Tensor:
    if mean is not None:
        return nothing(params)
    return allocation.empty(mean_shape(params, volume_norm, statistics), like=params)


def _fake_log_det(x: Tensor) -> Tensor:
    return allocation.empty((x.shape[0],), like=x, dtype=log_det_dtype(x))


def _fake_affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    return empty_like(x), empty_like(params)


def _save_affine_coupling(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, params, mean, *ctx.settings = inputs
    _, mean_used, _ = output
    ctx.mean_given = mean is not None
    ctx.save_for_backward(x, params, mean_used if mean is None else mean)
    ctx.mark_non_differentiable(mean_used)


def _affine_coupling_backward(
    ctx: Any, grad_y: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    x, params, mean = ctx.saved_tensors
    grad_x, grad_params = NAMESPACE_OPS.affine_coupling_backward(
        grad_y, grad_log_det, x, params, mean, ctx.mean_given, *ctx.settings
    )
    return grad_x, grad_params, None, None, None, None


def _affine_coupling_inverse_backward(
    ctx: Any, grad_x: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    y, params, mean = ctx.saved_tensors
    grad_y, grad_params = NAMESPACE_OPS.affine_coupling_inverse_backward(
        grad_x, grad_log_det, y, params, mean, ctx.mean_given, *ctx.settings
    )
    return grad_y, grad_params, None, None, None, None


def _fake_coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(x), _fake_mean(params, mean, volume_norm, statistics), _fake_log_det(x)


def _fake_coupling_conv1x1_backward(
    grad_z: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(x), empty_like(params), allocation.empty(weight.shape, like=weight)


def _save_coupling_conv1x1(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, params, mean, weight, *ctx.settings = inputs
    _, mean_used, _ = output
    ctx.mean_given = mean is not None
    ctx.save_for_backward(x, params, mean_used if mean is None else mean, weight)
    ctx.mark_non_differentiable(mean_used)


def _coupling_conv1x1_backward(
    ctx: Any, grad_z: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    x, params, mean, weight = ctx.saved_tensors
    grad_x, grad_params, grad_weight = NAMESPACE_OPS.coupling_conv1x1_backward(
        grad_z, grad_log_det, x, params, mean, ctx.mean_given, weight, *ctx.settings
    )
    return grad_x, grad_params, None, grad_weight, None, None, None


def _fake_conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    return empty_like(x)


OPS = (
    Op(
        f"affine_coupling(Tensor x, Tensor params, Tensor? mean, {_COUPLING})"
        " -> (Tensor y, Tensor mean_used, Tensor log_det)",
        check=checks.affine_coupling,
        fake=_fake_affine_coupling,
        save=_save_affine_coupling,
        backward=_affine_coupling_backward,
    ),
    Op(
        "affine_coupling_backward(Tensor grad_y, Tensor grad_log_det, Tensor x, Tensor params,"
        f" Tensor mean_used, bool mean_given, {_COUPLING})"
        " -> (Tensor grad_x, Tensor grad_params)",
        check=checks.affine_coupling_backward,
        apart=("grad_log_det",),
        fake=_fake_affine_coupling_backward,
    ),
    Op(
        f"affine_coupling_inverse(Tensor y, Tensor params, Tensor? mean, {_COUPLING})"
        " -> (Tensor x, Tensor mean_used, Tensor log_det)",
        check=checks.affine_coupling,
        fake=_fake_affine_coupling,
        save=_save_affine_coupling,
        backward=_affine_coupling_inverse_backward,
    ),
    Op(
        "affine_coupling_inverse_backward(Tensor grad_x, Tensor grad_log_det, Tensor y,"
        f" Tensor params, Tensor mean_used, bool mean_given, {_COUPLING})"
        " -> (Tensor grad_y, Tensor grad_params)",
        check=checks.affine_coupling_backward,
        apart=("grad_log_det",),
        fake=_fake_affine_coupling_backward,
    ),
    Op(
        f"coupling_conv1x1(Tensor x, Tensor params, Tensor? mean, Tensor weight, {_COUPLING})"
        " -> (Tensor z, Tensor mean_used, Tensor log_det)",
        check=checks.coupling_conv1x1,
        fake=_fake_coupling_conv1x1,
        save=_save_coupling_conv1x1,
        backward=_coupling_conv1x1_backward,
    ),
    Op(
        "coupling_conv1x1_backward(Tensor grad_z, Tensor grad_log_det, Tensor x, Tensor params,"
        f" Tensor mean_used, bool mean_given, Tensor weight, {_COUPLING})"
        " -> (Tensor grad_x, Tensor grad_params, Tensor grad_weight)",
        check=checks.coupling_conv1x1_backward,
        apart=("grad_log_det",),
        fake=_fake_coupling_conv1x1_backward,
    ),
    Op(
        "conv_coupling_conv1x1(Tensor x, Tensor hidden, Tensor kernel, Tensor mean, Tensor weight,"
        " str resample, float clamp) -> Tensor",
        check=checks.conv_coupling_conv1x1,
        fake=_fake_conv_coupling_conv1x1,
    ),
)

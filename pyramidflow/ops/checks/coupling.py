"""Checks of the couplings' rows."""

import math
from collections.abc import Sequence

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.checks.common import (
    check_choice,
    check_level,
    check_operands,
    check_same_shape,
    check_shape,
    half,
)
from pyramidflow.ops.checks.convolution import check_kernel, check_matrix

MEAN_DIMS = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
    ("none", "sample"): (0, 1, 2, 3),
    ("none", "batch"): (0, 1, 2, 3),
}
"""Dimensions of size 1 in the mean that a coupling takes from its parameters."""


def mean_shape(params: Tensor, volume_norm: str, statistics: str) -> list[int]:
    """Shape of the mean that a coupling takes from parameters ``[B, 2C, H', W']``."""
    full = [params.shape[0], params.shape[1] // 2, params.shape[2], params.shape[3]]
    reduced = MEAN_DIMS[volume_norm, statistics]
    return [1 if dim in reduced else size for dim, size in enumerate(full)]


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> None:
    """Of a level, the parameters of its coupling and the mean that it loses."""
    check_operands(x=x, params=params, **_optional(mean))
    _check_shapes(x, params, volume_norm, statistics, clamp)
    if mean is not None:
        _check_mean(mean, (*x.shape[:2], *params.shape[2:]))


def affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> None:
    """Of the gradients of a coupling's results, and of its arguments."""
    check_operands(
        grad_y=grad_y, grad_log_det=grad_log_det, x=x, params=params, mean_used=mean_used
    )
    _check_shapes(x, params, volume_norm, statistics, clamp)
    check_same_shape(grad_y=grad_y, x=x)
    check_shape("grad_log_det", grad_log_det, x.shape[:1], "x", x.shape)
    if mean_given:
        _check_mean(mean_used, (*x.shape[:2], *params.shape[2:]))
    else:
        taken = mean_shape(params, volume_norm, statistics)
        check_shape("mean_used", mean_used, taken, "params", params.shape)


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> None:
    """Of :func:`affine_coupling`'s arguments and a matrix."""
    check_operands(x=x, params=params, weight=weight, **_optional(mean))
    _check_shapes(x, params, volume_norm, statistics, clamp)
    if mean is not None:
        _check_mean(mean, (*x.shape[:2], *params.shape[2:]))
    check_matrix(weight, x)


def coupling_conv1x1_backward(
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
) -> None:
    """Of :func:`affine_coupling_backward`'s arguments and a matrix."""
    coupling = (x, params, mean_used, mean_given, volume_norm, statistics, clamp)
    affine_coupling_backward(grad_z, grad_log_det, *coupling)
    check_operands(x=x, weight=weight)
    check_matrix(weight, x)


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> None:
    """Of a level, and of what its coupling's parameters are convolved from."""
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


def _check_shapes(
    x: Tensor, params: Tensor, volume_norm: str, statistics: str, clamp: float
) -> None:
    check_level("the transformed level", x)
    check_level("params", params)
    check_choice("volume_norm", volume_norm, ("cvn", "svn", "none"))
    check_choice("statistics", statistics, ("sample", "batch"))
    _check_clamp(clamp)
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

"""The operations that the model calls, with their checks.

Shapes and types are refused here, once, with one sentence; the implementations trust them.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Literal, cast

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import registry
from pyramidflow.ops.planner import TILES, Resampling

Reduction = Literal["nearest", "max"]
VolumeNormKind = Literal["cvn", "svn", "none"]
Statistics = Literal["sample", "batch"]

_ops = registry.NAMESPACE_OPS

CLAMP = 2.0
"""Bound of the soft clamp on the log-scale (Algorithm 1): ``|s| < CLAMP`` before the mean."""


def pyramid_down(x: Tensor, reduction: Reduction = "nearest") -> Tensor:
    """Go one pyramid level down: ``D(x)``.

    ``D(x) = reduce(G(x))`` with ``G`` the 5×5 binomial filter (zero padding) and ``reduce`` either
    rows and columns 0, 2, 4 … (``"nearest"``) or the maximum of each 2×2 cell (``"max"``).

    Args:
        x: ``[B, C, H, W]``.
        reduction: ``"nearest"`` (the supplement) or ``"max"`` (the released code).

    Returns:
        ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.

    Raises:
        InputError: ``x`` is not a floating ``[B, C, H, W]`` tensor, or the reduction is unknown.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    _check_feature_map("x", x)
    _check_choice("reduction", reduction, ("nearest", "max"))
    y, _ = _ops.pyramid_down(x, reduction)
    return cast(Tensor, y)


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """Detail of a level that its coarser neighbour does not hold: ``fine − U(coarse)``.

    ``U(x) = G(nearest-neighbour up-sampling of x to the finer size)``.

    Args:
        fine: ``[B, C, H, W]``.
        coarse: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: the two sizes are not neighbouring pyramid levels.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    _check_neighbours("fine", fine, "coarse", coarse)
    fine, coarse = _promoted(fine, coarse)
    return cast(Tensor, _ops.pyramid_residual(fine, coarse))


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """Undo :func:`pyramid_residual`: ``U(coarse) + residual``.

    Args:
        coarse: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.
        residual: ``[B, C, H, W]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: the two sizes are not neighbouring pyramid levels.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    _check_neighbours("residual", residual, "coarse", coarse)
    coarse, residual = _promoted(coarse, residual)
    return cast(Tensor, _ops.pyramid_merge(coarse, residual))


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None = None,
    volume_norm: VolumeNormKind = "cvn",
    statistics: Statistics = "sample",
    clamp: float = CLAMP,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and shift a level by the parameters its neighbours gave.

    With ``s0, t`` the two halves of ``params``::

        s = clamp · 0.636 · atan(s0 / clamp) − mean
        y = exp(s) ⊙ x + t

    Without a given mean, it is taken from the parameters: over channels at each pixel (CVN), or
    over pixels for each channel (SVN); of each sample, or of the whole batch. Where the parameters
    have another size than ``x``, ``s`` (after the mean) and ``t`` are resized to it, nearest
    neighbour.

    Args:
        x: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        mean: what to subtract, broadcastable to ``[B, C, H', W']``: the running mean in
            evaluation; ``None`` takes the mean from the parameters, as in training.
        volume_norm: ``"cvn"``, ``"svn"``, or ``"none"`` for no mean at all.
        statistics: ``"sample"`` (Algorithm 2) or ``"batch"`` (the released code).
        clamp: bound of the soft clamp.

    Returns:
        ``y [B, C, H, W]``, the subtracted mean (detached), and the log-determinant
        ``Σ s`` of each sample ``[B]``, in float32 for half types.

    Raises:
        InputError: shapes do not fit, or a choice is unknown.

    Source: supplement, Algorithms 1 and 2.
    """
    _check_coupling(x, params, mean, volume_norm, statistics)
    x, params, mean = _promoted_coupling(x, params, mean)
    y, mean_used, log_det = _ops.affine_coupling(x, params, mean, volume_norm, statistics, clamp)
    return y, mean_used if mean is None else mean.detach(), log_det


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None = None,
    volume_norm: VolumeNormKind = "cvn",
    statistics: Statistics = "sample",
    clamp: float = CLAMP,
) -> tuple[Tensor, Tensor]:
    """Undo :func:`affine_coupling` given the same parameters: ``x = (y − t) ⊙ exp(−s)``.

    Args:
        y: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        mean: as for :func:`affine_coupling`.
        volume_norm: as for :func:`affine_coupling`.
        statistics: as for :func:`affine_coupling`.
        clamp: bound of the soft clamp.

    Returns:
        ``x [B, C, H, W]`` and the log-determinant ``−Σ s`` of each sample ``[B]``,
        in float32 for half types.

    Raises:
        InputError: shapes do not fit, or a choice is unknown.

    Source: supplement, Algorithms 1 and 2.
    """
    _check_coupling(y, params, mean, volume_norm, statistics)
    y, params, mean = _promoted_coupling(y, params, mean)
    x, _, log_det = _ops.affine_coupling_inverse(y, params, mean, volume_norm, statistics, clamp)
    return x, log_det


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """Mix the channels of every pixel: ``z = A y``.

    Args:
        y: ``[B, C, H, W]``.
        weight: ``A [C, C]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: ``weight`` is not ``[C, C]``.

    Source: supplement, Algorithm 1 (``InvConv``).
    """
    _check_feature_map("y", y)
    _check_weight(weight, y)
    y, weight = _promoted(y, weight)
    return cast(Tensor, _ops.invertible_conv1x1(y, weight))


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    weight: Tensor,
    mean: Tensor | None = None,
    volume_norm: VolumeNormKind = "cvn",
    statistics: Statistics = "sample",
    clamp: float = CLAMP,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and shift a level, then mix its channels: ``z = A (exp(s) ⊙ x + t)``.

    :func:`invertible_conv1x1` of :func:`affine_coupling`, in one pass where the backend fuses
    them; what is between the two is not kept for the gradient, but computed again.

    Args:
        x: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        weight: ``A [C, C]``.
        mean: as for :func:`affine_coupling`.
        volume_norm: as for :func:`affine_coupling`.
        statistics: as for :func:`affine_coupling`.
        clamp: bound of the soft clamp.

    Returns:
        ``z [B, C, H, W]``, the subtracted mean (detached), and the coupling's log-determinant
        ``Σ s`` of each sample ``[B]``, in float32 for half types.

    Raises:
        InputError: shapes do not fit, or a choice is unknown.

    Source: supplement, Algorithm 1.
    """
    _check_coupling(x, params, mean, volume_norm, statistics)
    _check_weight(weight, x)
    x, params, mean = _promoted_coupling(x, params, mean)
    z, mean_used, log_det = _ops.coupling_conv1x1(
        x, params, mean, weight.to(x.dtype), volume_norm, statistics, clamp
    )
    return z, mean_used if mean is None else mean.detach(), log_det


def conv2d(
    x: Tensor, weight: Tensor, resample: Resampling = "none", tile: int | None = None
) -> Tensor:
    """Convolve, zero padding ``k // 2``, with a resizing by 2 on either side if wanted.

    ``y[o] = Σ_i weight[o, i] ⋆ x[i]`` (cross-correlation); with ``"up"`` of the nearest-neighbour
    up-sampled ``x``, with ``"down"`` the rows and columns 0, 2, 4 … of the result. On a CPU the
    convolution is computed in the frequency domain where that is faster (overlap-save tiles of
    ``N × N``); an up-sampling is folded into the weights, and what a down-sampling drops is not
    computed.

    Args:
        x: ``[B, I, H, W]``.
        weight: ``[O, I, k, k]``, ``k`` odd.
        resample: ``"none"``, ``"up"`` or ``"down"``.
        tile: side ``N`` of the transforms, 8, 12, 16, 20, 24 or 32, above ``k``; 0 for the direct
            convolution; ``None`` leaves the choice to the planner.

    Returns:
        ``[B, O, H, W]``; ``[B, O, 2H, 2W]`` with ``"up"``, ``[B, O, ⌈H/2⌉, ⌈W/2⌉]`` with
        ``"down"``.

    Raises:
        InputError: shapes do not fit, or a choice is unknown.

    Source: model description, section 12; overlap-save convolution.
    """
    _check_feature_map("x", x)
    _check_choice("resample", resample, ("none", "up", "down"))
    sides = weight.shape[2:]
    if (
        weight.dim() != 4
        or weight.shape[1] != x.shape[1]
        or sides[0] != sides[1]
        or not sides[0] % 2
    ):
        raise InputError(
            f"weight has shape {list(weight.shape)}, but the image has {x.shape[1]} channels: "
            f"give [O, {x.shape[1]}, k, k] with an odd k."
        )
    if tile is not None and tile not in (0, *TILES):
        raise InputError(f"tile is {tile}: choose one of 0, {', '.join(map(str, TILES))}.")
    x, weight = _promoted(x, weight)
    return cast(Tensor, _ops.conv2d(x, weight, resample, -1 if tile is None else tile))


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    weight: Tensor,
    mean: Tensor,
    resample: Literal["none", "down"] = "none",
    clamp: float = CLAMP,
) -> Tensor:
    """Convolve to the parameters of a coupling, couple, and mix: a whole block in inference.

    :func:`coupling_conv1x1` of :func:`conv2d`, in one pass where the backend fuses them. With
    ``resample="down"`` the parameters at rows and columns 0, 2, 4 … are taken, which is what a
    nearest-neighbour resize to half the size leaves. It has no derivative.

    Args:
        x: ``[B, C, H, W]``.
        hidden: ``[B, K, H, W]``; with ``"down"`` ``[B, K, H', W']``, ``H = ⌈H'/2⌉``,
            ``W = ⌈W'/2⌉``.
        kernel: ``[2C, K, k, k]``, ``k`` odd.
        weight: ``A [C, C]``.
        mean: what the log-scale loses, broadcastable to ``[B, C, H, W]``.
        resample: ``"none"`` or ``"down"``.
        clamp: bound of the soft clamp.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: shapes do not fit.

    Source: supplement, Algorithm 1.
    """
    _check_feature_map("x", x)
    _check_feature_map("hidden", hidden)
    _check_weight(weight, x)
    batch, channels, height, width = x.shape
    size = kernel.shape[-1]
    if kernel.shape != (2 * channels, hidden.shape[1], size, size) or size % 2 == 0:
        raise InputError(
            f"kernel has shape {list(kernel.shape)}: give [{2 * channels}, {hidden.shape[1]}, k, k]"
            " with an odd k."
        )
    _check_choice("resample", resample, ("none", "down"))
    stride = 2 if resample == "down" else 1
    reached = tuple(-(-extent // stride) for extent in hidden.shape[2:])
    if (batch, height, width) != (hidden.shape[0], *reached):
        raise InputError(
            f"x has shape {list(x.shape)}, but hidden {list(hidden.shape)} "
            f"gives {[hidden.shape[0], channels, *reached]}: give levels of fitting sizes."
        )
    _check_mean(mean, x.shape)
    x, hidden, kernel = _promoted(x, hidden, kernel)
    return cast(
        Tensor,
        _ops.conv_coupling_conv1x1(
            x, hidden, kernel, mean.to(x.dtype), weight.to(x.dtype), resample, clamp
        ),
    )


def anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> Tensor:
    """Contrast a latent pyramid with its template in full resolution.

    ``map = mean over channels of compose(|z_d − z̄_d|)``. Composition is linear and acts on each
    channel alone, so the mean is taken first and one channel is composed.

    Args:
        latents: levels ``[B, C, h_d, w_d]``, finest first.
        template: levels ``[1 or B, C, h_d, w_d]``, finest first.

    Returns:
        ``[B, h_0, w_0]``.

    Raises:
        InputError: the two pyramids differ in levels or sizes.

    Source: paper section 3.4; supplement section 1.2 for the composition.
    """
    if len(latents) != len(template) or not latents:
        raise InputError(
            f"the latent pyramid has {len(latents)} levels and the template {len(template)}: "
            "both need the same number, one at least."
        )
    for level, (z, mean) in enumerate(zip(latents, template, strict=True)):
        _check_feature_map(f"latent level {level}", z)
        if mean.shape[1:] != z.shape[1:] or mean.shape[0] not in (1, z.shape[0]):
            raise InputError(
                f"level {level} of the template has shape {list(mean.shape)}, but the latents have "
                f"{list(z.shape)}: use a template made at the same image size."
            )
    promoted = _promoted(*latents, *template)
    levels = len(latents)
    return cast(Tensor, _ops.anomaly_map(promoted[:levels], promoted[levels:]))


def normalize_image(
    image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Turn camera pixels into network input: ``(image / full scale − mean) / std``.

    Args:
        image: ``[B, H, W, 3]``, uint8 or uint16; full scale is 255 or 65535.
        mean: ``[3]``, of the scaled channels.
        std: ``[3]``, of the scaled channels.
        dtype: floating type of the result.

    Returns:
        ``[B, 3, H, W]`` of type ``dtype``.

    Raises:
        InputError: the image is not ``[B, H, W, 3]`` of uint8 or uint16.
    """
    if image.dim() != 4 or image.shape[-1] != 3 or image.dtype not in (torch.uint8, torch.uint16):
        raise InputError(
            f"the image has shape {list(image.shape)} and type {image.dtype}: "
            "give [B, H, W, 3] of uint8 or uint16."
        )
    return cast(Tensor, _ops.normalize_image(image, mean, std, dtype))


def _promoted(*tensors: Tensor) -> list[Tensor]:
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    return [x.to(dtype) for x in tensors]


def _promoted_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    if mean is None:
        x, params = _promoted(x, params)
        return x, params, None
    x, params, mean = _promoted(x, params, mean)
    return x, params, mean


def _check_weight(weight: Tensor, y: Tensor) -> None:
    channels = y.shape[1]
    if weight.shape != (channels, channels):
        raise InputError(
            f"weight has shape {list(weight.shape)}, but the level has {channels} channels: "
            f"give a [{channels}, {channels}] matrix."
        )


def _check_feature_map(name: str, x: Tensor) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise InputError(
            f"{name} has shape {list(x.shape)} and type {x.dtype}: "
            "give a floating [B, C, H, W] tensor."
        )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}: choose one of {', '.join(choices)}.")


def _check_neighbours(fine_name: str, fine: Tensor, coarse_name: str, coarse: Tensor) -> None:
    _check_feature_map(fine_name, fine)
    _check_feature_map(coarse_name, coarse)
    height, width = fine.shape[-2:]
    expected = (*fine.shape[:2], (height + 1) // 2, (width + 1) // 2)
    if coarse.shape != expected:
        raise InputError(
            f"{coarse_name} has shape {list(coarse.shape)}, but {fine_name} has "
            f"{list(fine.shape)}: the coarser level must be {list(expected)}."
        )


def _check_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, volume_norm: str, statistics: str
) -> None:
    _check_feature_map("the transformed level", x)
    _check_feature_map("params", params)
    _check_choice("volume_norm", volume_norm, ("cvn", "svn", "none"))
    _check_choice("statistics", statistics, ("sample", "batch"))
    batch, channels = x.shape[:2]
    if params.shape[:2] != (batch, 2 * channels):
        raise InputError(
            f"params has shape {list(params.shape)}, but the level has {list(x.shape)}: "
            f"give [{batch}, {2 * channels}, H', W']."
        )
    if mean is not None:
        _check_mean(mean, (batch, channels, *params.shape[2:]))


def _check_mean(mean: Tensor, full: Sequence[int]) -> None:
    if mean.dim() != 4 or any(m not in (1, n) for m, n in zip(mean.shape, full, strict=True)):
        raise InputError(
            f"the mean has shape {list(mean.shape)}, which does not broadcast to {list(full)}: "
            "a model with channel volume normalisation works only at its training's image size."
        )

"""The affine coupling: alone, inverted, and with the convolutions around it."""

from typing import Literal, cast

from torch import Tensor

from pyramidflow.ops.coupling import schema
from pyramidflow.ops.coupling.mode import CLAMP, Block, CouplingMode
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted
from pyramidflow.variants import Statistics, VolumeNormKind

__all__ = [
    "CLAMP",
    "CouplingMode",
    "Statistics",
    "VolumeNormKind",
    "affine_coupling",
    "affine_coupling_inverse",
    "conv_coupling_conv1x1",
    "coupling_conv1x1",
]


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None = None,
    mode: CouplingMode = CouplingMode(),
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and shift a level by the parameters its neighbours gave.

    With ``s0, t`` the two halves of ``params``::

        s = mode.clamp · 0.636 · atan(s0 / mode.clamp) − mean
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
        mode: how the log-scale is normalised and bounded.

    Returns:
        ``y [B, C, H, W]``, the subtracted mean (detached), and the log-determinant
        ``Σ s`` of each sample ``[B]``, in float32 for half types; ``[0]`` where the mode asks for
        none.

    Raises:
        InputError: shapes or devices do not fit, or a choice is unknown.

    Source: supplement, Algorithms 1 and 2.
    """
    x, params, mean = _checked(x, params, mean, mode)
    y, mean_used, log_det = NAMESPACE_OPS.affine_coupling(x, params, mean, *mode)
    return y, mean_used if mean is None else mean.detach(), log_det


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None = None,
    mode: CouplingMode = CouplingMode(),
) -> tuple[Tensor, Tensor]:
    """Undo :func:`affine_coupling` given the same parameters: ``x = (y − t) ⊙ exp(−s)``.

    Args:
        y: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        mean: as for :func:`affine_coupling`.
        mode: as for :func:`affine_coupling`.

    Returns:
        ``x [B, C, H, W]`` and the log-determinant ``−Σ s`` of each sample, as for
        :func:`affine_coupling`.

    Raises:
        InputError: shapes or devices do not fit, or a choice is unknown.

    Source: supplement, Algorithms 1 and 2.
    """
    y, params, mean = _checked(y, params, mean, mode)
    x, _, log_det = NAMESPACE_OPS.affine_coupling_inverse(y, params, mean, *mode)
    return x, log_det


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    weight: Tensor,
    mean: Tensor | None = None,
    mode: CouplingMode = CouplingMode(),
) -> tuple[Tensor, Tensor, Tensor]:
    """Scale and shift a level, then mix its channels: ``z = A (exp(s) ⊙ x + t)``.

    :func:`invertible_conv1x1` of :func:`affine_coupling`, in one pass where the backend fuses
    them; what is between the two is not kept for the gradient, but computed again.

    Args:
        x: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        weight: ``A [C, C]``.
        mean: as for :func:`affine_coupling`.
        mode: as for :func:`affine_coupling`.

    Returns:
        ``z [B, C, H, W]``, the subtracted mean (detached), and the coupling's log-determinant
        ``Σ s`` of each sample, as for :func:`affine_coupling`.

    Raises:
        InputError: shapes or devices do not fit, or a choice is unknown.

    Source: supplement, Algorithm 1.
    """
    schema.check_coupling_conv1x1(x, params, mean, weight, mode)
    x, params, mean = _promoted(x, params, mean)
    z, mean_used, log_det = NAMESPACE_OPS.coupling_conv1x1(
        x, params, mean, weight.to(x.dtype), *mode
    )
    return z, mean_used if mean is None else mean.detach(), log_det


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
        InputError: shapes or devices do not fit, or the choice is unknown.

    Source: supplement, Algorithm 1.
    """
    block = Block(x, hidden, kernel, mean, weight, resample, clamp)
    schema.check_conv_coupling_conv1x1(block)
    x, hidden, kernel = promoted(x, hidden, kernel)
    return cast(
        Tensor,
        NAMESPACE_OPS.conv_coupling_conv1x1(
            x, hidden, kernel, mean.to(x.dtype), weight.to(x.dtype), resample, clamp
        ),
    )


def _checked(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor | None]:
    schema.check_affine_coupling(x, params, mean, mode)
    return _promoted(x, params, mean)


def _promoted(
    x: Tensor, params: Tensor, mean: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    if mean is None:
        x, params = promoted(x, params)
        return x, params, None
    x, params, mean = promoted(x, params, mean)
    return x, params, mean

"""How a coupling normalises and bounds its log-scale."""

from typing import NamedTuple

from torch import Tensor

from pyramidflow.variants import Statistics, VolumeNormKind

CLAMP = 2.0
"""Bound of the soft clamp on the log-scale (Algorithm 1): ``|s| < CLAMP`` before the mean."""

SOFT_CLAMP_GAIN = 0.636
"""The supplement's approximation of 2/π (Algorithm 1)."""


class CouplingMode(NamedTuple):
    """What the couplings of one network have in common, and what is asked of one.

    Attributes:
        volume_norm: what the mean of the log-scale is taken over, where none is given: ``"cvn"``
            (channels at each pixel), ``"svn"`` (pixels of each channel), or ``"none"`` for no mean
            at all.
        statistics: of each ``"sample"`` (Algorithm 2) or of the whole ``"batch"`` (the released
            code).
        clamp: bound of the soft clamp.
        with_log_det: whether the log-determinant is computed; else it has no elements.
    """

    volume_norm: VolumeNormKind = "cvn"
    statistics: Statistics = "sample"
    clamp: float = CLAMP
    with_log_det: bool = True


class Coupled(NamedTuple):
    """A coupling that was computed, as its gradient takes it.

    Attributes:
        x: what was transformed, forward or back: ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        mean: that the log-scale has lost.
        mean_given: whether it was given; else it was taken from ``params``.
        volume_norm: as in :class:`CouplingMode`.
        statistics: likewise.
        clamp: likewise.
    """

    x: Tensor
    params: Tensor
    mean: Tensor
    mean_given: bool
    volume_norm: VolumeNormKind
    statistics: Statistics
    clamp: float

    @property
    def mode(self) -> CouplingMode:
        """The coupling's mode."""
        return CouplingMode(self.volume_norm, self.statistics, self.clamp)

    @property
    def given(self) -> Tensor | None:
        """The mean, if it was given."""
        return self.mean if self.mean_given else None


class Block(NamedTuple):
    """A coupling block behind its first convolution, for inference.

    Attributes:
        x: the level ``[B, C, H, W]``.
        hidden: what the parameters are convolved from, ``[B, K, H', W']``.
        kernel: ``[2C, K, k, k]``.
        mean: that the log-scale loses.
        weight: ``A [C, C]``.
        resample: ``"none"`` or ``"down"``.
        clamp: bound of the soft clamp.
    """

    x: Tensor
    hidden: Tensor
    kernel: Tensor
    mean: Tensor
    weight: Tensor
    resample: str
    clamp: float


def given_mean(clamp: float) -> CouplingMode:
    """The mode of a coupling that is always given its mean, and gives no log-determinant."""
    return CouplingMode("none", "sample", clamp, with_log_det=False)

"""How a coupling normalises and bounds its log-scale."""

from typing import NamedTuple

from pyramidflow.variants import Statistics, VolumeNormKind

CLAMP = 2.0
"""Bound of the soft clamp on the log-scale (Algorithm 1): ``|s| < CLAMP`` before the mean."""

SOFT_CLAMP_GAIN = 0.636
"""The supplement's approximation of 2/π (Algorithm 1)."""


class CouplingMode(NamedTuple):
    """What the couplings of one network have in common.

    Attributes:
        volume_norm: what the mean of the log-scale is taken over, where none is given: ``"cvn"``
            (channels at each pixel), ``"svn"`` (pixels of each channel), or ``"none"`` for no mean
            at all.
        statistics: of each ``"sample"`` (Algorithm 2) or of the whole ``"batch"`` (the released
            code).
        clamp: bound of the soft clamp.
    """

    volume_norm: VolumeNormKind = "cvn"
    statistics: Statistics = "sample"
    clamp: float = CLAMP


def given_mean(clamp: float) -> CouplingMode:
    """The mode of a coupling that is always given its mean."""
    return CouplingMode("none", "sample", clamp)

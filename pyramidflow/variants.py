"""Names of the variants that settings and operations have in common; nothing heavy is imported."""

from typing import Literal

VolumeNormKind = Literal["cvn", "svn", "none"]
"""Mean of the log-scale over channels, over pixels, or none."""

Statistics = Literal["sample", "batch"]
"""Means of volume normalisation of each sample, or of the batch."""

Reduction = Literal["nearest", "max"]
"""How the pyramid halves a level."""

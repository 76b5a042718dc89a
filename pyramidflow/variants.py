"""Names and numbers that settings, operations and commands share; nothing heavy is imported."""

from typing import Literal

VolumeNormKind = Literal["cvn", "svn", "none"]
"""Mean of the log-scale over channels, over pixels, or none."""

Statistics = Literal["sample", "batch"]
"""Means of volume normalisation of each sample, or of the batch."""

Reduction = Literal["nearest", "max"]
"""How the pyramid halves a level."""

Fusion = Literal["auto", "sum", "product"]
"""How the levels of the pyramid become one map; ``"auto"`` follows from the other settings."""

TemplatesBy = Literal["pixel", "image"]
"""Where the nearest of several templates is looked for."""

FALSE_REJECT_RATE = 0.01
"""Share of good parts that a threshold may reject, where no other is asked for."""

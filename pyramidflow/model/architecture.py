"""What fixes a network's shape, as data."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.settings import Validated, setting

RESNET_CHANNELS = 64
"""Channels of a ResNet18 or ResNet34 behind its first stage."""

RESNET_STRIDE = 4
"""Pixels of the image for each pixel of that stage."""


@dataclass(frozen=True)
class Architecture(Validated):
    """Everything that fixes a network's shape; what a detector file stores of it.

    Attributes:
        encoder: ``"none"`` (the lift), ``"resnet18"``, ``"resnet34"`` or ``"custom"``.
        channels: ``C`` of the feature map.
        levels: ``L`` of the pyramid.
        stacks: ``D`` of the flow.
        kernel_size: ``k`` of the coupling convolutions.
        volume_norm: ``"cvn"``, ``"svn"``, or ``"none"`` (ablation I).
        statistics: ``"sample"`` or ``"batch"`` means in volume normalisation.
        reduction: ``"nearest"`` or ``"max"`` in the pyramid.
        pyramid_difference: whether the contrast is taken level by level; ``False`` composes first
            (ablation III).

    Raises:
        InputError: a setting is out of its range, or two of them contradict each other.
    """

    group: ClassVar[str] = "network settings"

    encoder: Literal["none", "resnet18", "resnet34", "custom"] = setting(
        "none", "none is the baseline; a ResNet brings ImageNet features."
    )
    channels: int = setting(
        16,
        "Channels of the feature map.",
        least=1,
        most=4096,
        shown_default="16, 64 with a ResNet",
    )
    levels: int = setting(4, "Levels of the pyramid.", least=2, most=16)
    stacks: int = setting(4, "Stacks of coupling blocks.", least=1, most=256)
    kernel_size: int = setting(
        7, "Kernel of the coupling convolutions.", least=1, most=63, odd=True
    )
    volume_norm: ops.VolumeNormKind = setting(
        "cvn",
        "Mean over channels (cvn, for parts that always lie in the same place) or over pixels "
        "(svn, for textures and parts that move).",
    )
    statistics: ops.Statistics = setting(
        "sample", "Means of volume normalisation: of each image, or of the batch."
    )
    reduction: ops.Reduction = setting("nearest", "How the pyramid halves a level.")
    pyramid_difference: bool = setting(
        True, "Whether the contrast is taken level by level.", on_command_line=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "none" and self.channels < 3:
            raise InputError(
                f"channels is {self.channels}: give a whole number of at least 3, as many as an "
                "image has."
            )
        if self.encoder.startswith("resnet") and self.channels != RESNET_CHANNELS:
            raise InputError(
                f"channels is {self.channels}, but {self.encoder} gives {RESNET_CHANNELS}: "
                f"leave channels out or give {RESNET_CHANNELS}."
            )

    @property
    def stride(self) -> int | None:
        """Pixels of the image for each of the feature map; ``None`` for an encoder of one's own."""
        return {"none": 1, "custom": None}.get(self.encoder, RESNET_STRIDE)

    def padded(self, length: int) -> int:
        """A side of the feature map, padded to a multiple of ``2^(L-1)``."""
        unit: int = 2 ** (self.levels - 1)
        return unit * -(-length // unit)

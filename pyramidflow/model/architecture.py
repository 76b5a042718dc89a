"""Settings that fix a network's shape."""

from dataclasses import dataclass
from typing import ClassVar

from pyramidflow.model.encoder import Stages, stages_text
from pyramidflow.model.encoders import (
    encoder_name,
    encoder_of,
    encoder_stages,
    known_encoders,
)
from pyramidflow.validated import Validated, setting
from pyramidflow.variants import Reduction, Statistics, VolumeNormKind


@dataclass(frozen=True)
class Architecture(Validated):
    """Everything that fixes a network's shape; what a detector file stores of it.

    Attributes:
        encoder: ``"lift"`` (the image itself), another of :mod:`pyramidflow.model.encoders`, or
            ``"custom"``.
        encoder_stages: of the encoder, that give the feature map.
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

    encoder: str = setting(
        "lift",
        f"One of {known_encoders()}. lift is the baseline, the image itself in more channels; the "
        "others bring ImageNet features; timm:NAME is a network of the package timm.",
        convert=encoder_name,
    )
    encoder_stages: Stages = setting(
        (),
        "Stages of the encoder whose features are taken: one, or several side by side, such as "
        "2,3.",
        shown_default="the encoder's own choice",
        convert=encoder_stages,
        text=stages_text,
    )
    channels: int = setting(
        16,
        "Channels of the feature map.",
        least=1,
        most=4096,
        shown_default="16, as many as it gives with an encoder",
    )
    levels: int = setting(4, "Levels of the pyramid.", least=2, most=16)
    stacks: int = setting(4, "Stacks of coupling blocks.", least=1, most=256)
    kernel_size: int = setting(
        7, "Kernel of the coupling convolutions.", least=1, most=63, odd=True
    )
    volume_norm: VolumeNormKind = setting(
        "cvn",
        "Mean over channels (cvn, for parts that always lie in the same place) or over pixels "
        "(svn, for textures and parts that move).",
        implied=("none",),
    )
    statistics: Statistics = setting(
        "sample", "Means of volume normalisation: of each image, or of the batch."
    )
    reduction: Reduction = setting(
        "max",
        "How the pyramid halves a level: the maximum of each 2×2 cell finds more on real parts; "
        "nearest is the paper's supplement.",
    )
    pyramid_difference: bool = setting(
        True, "Whether the contrast is taken level by level.", on_command_line=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        encoder = encoder_of(self.encoder)
        stages = self.encoder_stages or encoder.default_stages
        encoder.check_stages(stages)
        encoder.check_channels(self.channels, stages)
        object.__setattr__(self, "encoder_stages", stages)

    @property
    def stride(self) -> int | None:
        """Pixels of the image for each of the feature map; ``None`` where only a run tells."""
        return encoder_of(self.encoder).stride(self.encoder_stages)

    def padded(self, length: int) -> int:
        """A side of the feature map, padded to a multiple of ``2^(L-1)``."""
        unit: int = 2 ** (self.levels - 1)
        return unit * -(-length // unit)

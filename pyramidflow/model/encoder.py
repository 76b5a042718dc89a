"""The protocol of encoders: what is known of one before it is built; nothing heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramidflow.errors import InputError
from pyramidflow.model.layers import (
    Layer,
    channels_of,
    convolutions_of,
    layers_until,
    reach_of,
    stride_of,
)
from pyramidflow.model.reach import Reach
from pyramidflow.variants import Fusion

if TYPE_CHECKING:
    from torch import Tensor

    from pyramidflow.model.frozen import FrozenEncoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CUSTOM = "custom"
"""Name of an encoder of one's own."""

Stages = tuple[int, ...]


@dataclass(frozen=True)
class Encoder:
    """A way from an image to the feature map that the pyramid decomposes.

    Attributes:
        name: as the setting ``encoder`` says it.
        image_size: side of the square that images are resized to, unless a setting says otherwise.
        mean: of the input, per channel, of images scaled to [0, 1].
        std: likewise.
        default_stages: that give the feature map where no setting names any; empty where there is
            nothing to choose.
        fusion: of the pyramid's levels, that finds most in its features on real parts.
        batch_size: images in a training's step; few, as its images are large.
        released_names: beginnings of its tensors' names in the authors' released code, and here;
            empty where that code does not have it.
        older_names: that files and command lines may still say.
        is_drawn: whether its weights follow from the seed, as the flow's, and from nothing else.
    """

    name: str
    image_size: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    default_stages: Stages = ()
    fusion: Fusion = "sum"
    batch_size: int = 2
    released_names: tuple[tuple[str, str], ...] = ()
    older_names: tuple[str, ...] = ()
    is_drawn: bool = False

    def named(self, name: str) -> "Encoder | None":
        """The encoder of a name, where it is this one."""
        return self if name in (self.name, *self.older_names) else None

    @property
    def is_offered(self) -> bool:
        """Whether a setting may name it; an encoder of one's own is given as a module."""
        return self.name != CUSTOM

    def check_stages(self, stages: Stages) -> None:
        """Refuse stages that the encoder does not have.

        Raises:
            InputError: it has no such stages, or none to choose from, or they do not rise.
        """
        if stages and not self.default_stages:
            raise InputError(
                f"encoder_stages is {stages_text(stages)}, but the encoder {self.name} has none to "
                "choose from: leave it out."
            )
        if list(stages) != sorted(set(stages)):
            raise InputError(
                f"encoder_stages is {stages_text(stages)}: give each stage once, the lowest first."
            )

    def check_channels(self, channels: int, stages: Stages) -> None:
        """Refuse channels that the encoder does not give.

        Raises:
            InputError: its stages give another number.
        """

    def stride(self, stages: Stages) -> int | None:
        """Pixels of the image for each of the feature map; ``None`` where only a run tells."""
        return None

    def reach(self, stages: Stages, period: int) -> Reach | None:
        """Which pixels of the image a pixel of the feature map depends on.

        Args:
            stages: that give the feature map.
            period: pixels of the feature map, over which the reach may differ.

        Returns:
            ``None`` where that is not known: such an encoder does not work in tiles.
        """
        return None

    def settings(self, stages: Stages) -> dict[str, Any]:
        """Settings that follow from the encoder, unless they are given."""
        return {
            "image_size": (self.image_size, self.image_size),
            "mean": self.mean,
            "std": self.std,
            "fusion": self.fusion,
            "batch_size": self.batch_size,
        }

    def build(self, channels: int, stages: Stages) -> "FrozenEncoder":
        """The encoder with random weights.

        Args:
            channels: of the feature map.
            stages: that give it.

        Raises:
            InputError: what it is built from is missing.
        """
        raise InputError(
            f"the encoder {self.name} is a module of one's own: give the module itself."
        )

    def load_weights(self, encoder: "FrozenEncoder", file: Path | None) -> None:
        """Fill a built encoder with the weights that a training starts from.

        Args:
            encoder: receives them.
            file: to take them from; ``None`` takes the encoder's own source.

        Raises:
            InputError: there is no file to take, or weights are missing or of another network.
        """
        if file is not None:
            raise InputError(
                f"encoder weights were given ({file}), but the encoder {self.name} takes none: "
                "leave them out, or choose another encoder."
            )


@dataclass(frozen=True)
class LayeredEncoder(Encoder):
    """An encoder whose layers are data, so that every runtime and tiles know it.

    Attributes:
        stages: layers of each stage, numbered from 1.
    """

    stages: tuple[tuple[Layer, ...], ...] = ()

    def chosen(self, stages: Stages) -> Stages:
        """The stages that give the feature map."""
        return stages or self.default_stages or (len(self.stages),)

    def channels(self, stages: Stages) -> int:
        """Channels of the feature map."""
        return sum(channels_of(layers_until(self.stages, stage)) for stage in self.chosen(stages))

    def check_stages(self, stages: Stages) -> None:
        """See :meth:`Encoder.check_stages`."""
        super().check_stages(stages)
        if stages and (stages[0] < 1 or stages[-1] > len(self.stages)):
            raise InputError(
                f"encoder_stages is {stages_text(stages)}: the encoder {self.name} has stages 1 to "
                f"{len(self.stages)}."
            )

    def check_channels(self, channels: int, stages: Stages) -> None:
        """See :meth:`Encoder.check_channels`."""
        own = self.channels(stages)
        if channels != own:
            raise InputError(
                f"channels is {channels}, but {self.name} gives {own}: leave channels out or give "
                f"{own}."
            )

    def stride(self, stages: Stages) -> int:
        """See :meth:`Encoder.stride`."""
        return stride_of(layers_until(self.stages, self.chosen(stages)[0]))

    def reach(self, stages: Stages, period: int) -> Reach:
        """See :meth:`Encoder.reach`."""
        first, *others = (layers_until(self.stages, stage) for stage in self.chosen(stages))
        finest = stride_of(first)
        pixels = Reach.of_pixels(stride_of(others[-1] if others else first) * period)
        reach = reach_of(pixels, first)
        for layers in others:
            coarse = reach_of(pixels, layers)
            if coarse.spacing > finest:
                coarse = coarse.window(-1, 1)  # that bilinear up-sampling reads
            while coarse.spacing > finest:
                coarse = coarse.doubled()
            reach = reach.joined(coarse)
        return reach

    def settings(self, stages: Stages) -> dict[str, Any]:
        """See :meth:`Encoder.settings`."""
        return {**super().settings(stages), "channels": self.channels(stages)}

    def build(self, channels: int, stages: Stages) -> "FrozenEncoder":
        """See :meth:`Encoder.build`."""
        from pyramidflow.model.layered import LayeredNetwork

        return LayeredNetwork(self.stages, self.chosen(stages))

    def load_weights(self, encoder: "FrozenEncoder", file: Path | None) -> None:
        """See :meth:`Encoder.load_weights`."""
        from pyramidflow.model.encoder_weights import fill, read_state
        from pyramidflow.model.frozen import inner

        state = self.own_weights() if file is None else read_state(file)
        convolutions = convolutions_of(layers_until(self.stages, len(self.stages)))
        described = {name for conv in convolutions for name in (conv.weight, conv.norm) if name}
        fill(inner(encoder), state, described, self.name, file)

    def own_weights(self) -> "Mapping[str, Tensor]":
        """The pre-trained state dictionary of the whole network.

        Raises:
            InputError: it cannot be had here.
        """
        raise InputError(
            f"the encoder {self.name} brings no weights: give a file with --encoder-weights."
        )


def stages_text(stages: Stages) -> str:
    """Numbers of stages as people write them: ``2,3``."""
    return ",".join(map(str, stages))

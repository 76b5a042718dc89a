"""Every setting of a detector, in one place.

The command line, Python, a detector's file and what ``info`` prints are views of :class:`Spec`. A
new setting is a field here, and the place that uses it. Nothing heavy is imported: the command line
makes its options from this file.
"""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.model.description import IMAGENET_MEAN, IMAGENET_STD, Stages, stages_text
from pyramidflow.model.encoders import (
    encoder_name,
    encoder_of,
    encoder_stages,
    known_encoders,
    settings_of_encoder,
)
from pyramidflow.rules import PLAIN_CONTRAST, PLAIN_VERDICT, ContrastRule, VerdictRule
from pyramidflow.settings import Setting, Validated, described, setting, shown

VolumeNormKind = Literal["cvn", "svn", "none"]
Statistics = Literal["sample", "batch"]
Reduction = Literal["nearest", "max"]


@dataclass(frozen=True)
class Architecture(Validated):
    """Everything that fixes a network's shape; what a detector file stores of it.

    Attributes:
        encoder: ``"none"`` (the lift), another name of :mod:`pyramidflow.model.encoders`, or
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
        "none",
        f"One of {known_encoders()}. none is the baseline, the others bring ImageNet features; "
        "timm:NAME is a network of the package timm.",
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


ImageSize = tuple[int, int]
"""Height and width in pixels."""

AUTO = "auto"

LARGEST_SIDE = 65536


def image_size(value: Any) -> "ImageSize | Literal['auto']":
    """A size as people write it: ``256``, ``(640, 256)``, ``"640x256"`` or ``"auto"``.

    Raises:
        ValueError: it is none of these.
    """
    if value == AUTO:
        return "auto"
    if isinstance(value, str):
        value = value.lower().replace("×", "x").split("x")
        if not all(side.strip().isdecimal() and len(side) < 10 for side in value):
            raise ValueError(_SIZES)
        value = [int(side) for side in value]
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(map(_is_side, sides)):
        raise ValueError(_SIZES)
    return int(sides[0]), int(sides[-1])


def _is_side(value: Any) -> bool:
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and 1 <= int(value) <= LARGEST_SIDE
    )


def size_text(value: Any) -> str:
    """A size as ``640x256``; a square as its side."""
    if isinstance(value, str):
        return value
    height, width = value
    return str(height) if height == width else f"{height}x{width}"


_SIZES = (
    f"give a side from 1 to {LARGEST_SIDE}, HEIGHTxWIDTH such as 640x256, or {AUTO} for the aspect "
    "of the training images"
)


@dataclass(frozen=True)
class Preprocessing(Validated):
    """How images become network input; part of every detector file.

    Attributes:
        image_size: height and width that images are resized to, in pixels; ``"auto"``, before a
            training, has the aspect of the training images, and the pixels of the default square.
        smallest_defect: size in pixels of the images of what should still be found; a training
            warns where less than two pixels are left of it.
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
        white_level: value that stands for white in images of 16 bits; ``None`` is the file's own,
            65535.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "preprocessing settings"

    image_size: ImageSize | Literal["auto"] = setting(
        (256, 256),
        "Size that images are resized to, in pixels: the side of a square, HEIGHTxWIDTH, or auto "
        "for the aspect of the training images.",
        shown_default="256, with an encoder its own",
        convert=image_size,
        text=size_text,
    )
    smallest_defect: float | None = setting(
        None,
        "Smallest defect that should be found, in pixels of the images; a training warns where "
        "the image size makes it too small.",
        above=0,
    )
    mean: tuple[float, float, float] = setting(IMAGENET_MEAN, on_command_line=False)
    std: tuple[float, float, float] = setting(IMAGENET_STD, above=0, on_command_line=False)
    white_level: int | None = setting(
        None,
        "Value that stands for white in images of 16 bits: 4095 for a camera of 12 bits.",
        least=256,
        most=65535,
        shown_default="65535",
    )

    @property
    def size(self) -> ImageSize:
        """Height and width that images are resized to.

        Raises:
            InputError: it is ``"auto"`` and no training has chosen it yet.
        """
        if isinstance(self.image_size, str):
            raise InputError(
                "image_size is 'auto': a training chooses the size; call fit, or give a size."
            )
        return self.image_size


Ablation = Literal["volume-norm", "template", "pyramid-difference", "fourier-loss"]
"""A part of the method that a training may leave out: rows I to IV of tables S1 and S2."""

Memory = Literal["auto", "plain", "reversible"]
"""What a training keeps for the gradients."""


@dataclass(frozen=True)
class Recipe(Validated):
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step; every pair of them is contrasted.
        seed: of initial weights, held-out share, data order and augmentation.
        augment: ``"texture"`` flips and rotates by 90° at random.
        validation_share: share of the good images that is held out from training.
        without: what to leave out.
        deterministic: refuse operations whose result may differ from run to run.
        memory: ``"plain"`` keeps every activation for the gradients, ``"reversible"`` computes them
            again from the latents, ``"auto"`` is plain where half of the free memory suffices.
        learning_rate: of Adam.
        eps: of Adam.
        weight_decay: of Adam.
        betas: of Adam.
        clip_norm: largest norm of the gradient.

    Raises:
        InputError: a setting is out of its range.

    Source: supplement section 1.1 for the optimiser, its settings and the batch size.
    """

    group: ClassVar[str] = "training settings"

    epochs: int = setting(15, "Passes over the training images.", least=1, most=1_000_000)
    batch_size: int = setting(2, "Images in a step.", least=1, most=65536)
    seed: int = setting(
        0, "Seed of weights, held-out share and data order.", least=0, most=2**63 - 1
    )
    augment: Literal["none", "texture"] = setting(
        "none", "texture flips images and turns them by 90° at random."
    )
    validation_share: float = setting(
        0.1,
        "Share of the good images that is held out to watch the training and to set the threshold.",
        least=0,
        most=0.5,
    )
    without: tuple[Ablation, ...] = setting(
        (), "Ablation: leave a part of the method out. May be repeated."
    )
    deterministic: bool = setting(False, "Use only operations that repeat to the bit.")
    memory: Memory = setting(
        "auto",
        "plain keeps all activations; reversible computes them again, slower, in a memory that "
        "hardly grows with the stacks; auto is plain where half of the free memory suffices.",
    )
    learning_rate: float = setting(2e-4, "Step size of Adam.", above=0)
    eps: float = setting(1e-4, "Adam's epsilon.", above=0)
    weight_decay: float = setting(1e-5, "Weight decay of Adam.", least=0)
    betas: tuple[float, float] = setting((0.5, 0.9), "Adam's two decay rates.", least=0, most=1)
    clip_norm: float = setting(1.0, "Largest norm of the gradient.", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = not {"template", "volume-norm"} & set(self.without)
        least = 2 if pairs else 1
        if self.batch_size < least:
            raise InputError(
                f"batch_size is {self.batch_size}, but at least {least} images are needed in a "
                "step: pairs of good images are contrasted."
            )
        if max(self.betas) >= 1:
            raise InputError(f"betas is {self.betas}: give two numbers below 1.")


@dataclass(frozen=True)
class Spec:
    """All settings of a detector: the command line, Python and the file are views of it.

    Attributes:
        network: what fixes the network's shape.
        preprocessing: how images become network input.
        recipe: how the network is trained.
        contrast: how an image is compared with the training images.
        rule: how an anomaly map becomes a verdict.

    Raises:
        InputError: two settings contradict each other.
    """

    network: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    recipe: Recipe = Recipe()
    contrast: ContrastRule = PLAIN_CONTRAST
    rule: VerdictRule = PLAIN_VERDICT

    def __post_init__(self) -> None:
        if self.preprocessing.image_size != AUTO:
            self._check_size(self.preprocessing.size)
        for ablation, is_left_out in (
            ("volume-norm", self.network.volume_norm == "none"),
            ("pyramid-difference", not self.network.pyramid_difference),
        ):
            if (ablation in self.recipe.without) != is_left_out:
                raise InputError(
                    f"without is {list(self.recipe.without)}, but the network has "
                    f"volume_norm {self.network.volume_norm} and pyramid_difference "
                    f"{self.network.pyramid_difference}: leave out {ablation} in both or in none."
                )
        if not (self.network.pyramid_difference or self.contrast.is_plain):
            raise InputError(
                f"spread is {self.contrast.spread} and light {self.contrast.light}, but without "
                "pyramid-difference an image is compared with the template alone: leave them out."
            )

    def _check_size(self, size: ImageSize) -> None:
        levels, stride = self.network.levels, self.network.stride
        least = 2 ** (levels - 1)
        if min(size) < least:
            raise InputError(
                f"image_size is {size_text(size)}: {levels} levels need at least {least}."
            )
        if stride is None:
            return
        map_size = (-(-size[0] // stride), -(-size[1] // stride))
        if not self.rule.holds_a_pixel(map_size):
            raise InputError(
                f"region_of_interest is {shown(self.rule.region_of_interest)}: it holds no pixel "
                f"of the anomaly map, which has {map_size[0]}×{map_size[1]}; give a larger region."
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Spec":
        """The spec of settings by name; what is not named, or ``None``, has its default.

        Where ``without`` names a part of the network, the network is built without it.

        Args:
            settings: any of :func:`names`.

        Raises:
            InputError: a name is unknown, or a value is refused.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        for name in given:
            if name not in _OWNERS:
                raise InputError(
                    f"there is no setting {shown(name)}: choose from {', '.join(sorted(_OWNERS))}."
                )
        if not set(given) >= {"channels", "image_size", "mean", "std"}:
            # Only then is the encoder asked: it may need a package.
            encoder = given.get("encoder", Architecture.encoder)
            given = settings_of_encoder(encoder, given.get("encoder_stages", ())) | given
        without = Recipe(**_of_group(Recipe, given)).without
        if "volume-norm" in without:
            given["volume_norm"] = "none"
        if "pyramid-difference" in without:
            given["pyramid_difference"] = False
        parts: dict[str, Any] = {
            part: group(**_of_group(group, given)) for part, group in _GROUPS.items()
        }
        return cls(**parts)

    def changed(self, **settings: Any) -> "Spec":
        """This spec with other values of some settings; ``None`` changes nothing."""
        return Spec.of(self.as_settings() | {k: v for k, v in settings.items() if v is not None})

    def with_recipe(self, **settings: Any) -> "Spec":
        """This spec with other settings of the training; ``None`` changes nothing.

        Raises:
            InputError: a name is no setting of the training, or a value is refused.
        """
        for name in settings:
            if _OWNERS.get(name) is not Recipe:
                raise InputError(
                    f"{shown(name)} is no setting of a training: choose from "
                    f"{', '.join(sorted(described(Recipe)))}, or give it to the detector."
                )
        return self.changed(**settings)

    def as_settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {
            name: getattr(getattr(self, part), name)
            for part, group in _GROUPS.items()
            for name in described(group)
        }

    def by_group(self) -> dict[str, dict[str, Any]]:
        """All settings by the title of their group, then by name."""
        return {
            group.group: {name: getattr(getattr(self, part), name) for name in described(group)}
            for part, group in _GROUPS.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """The spec as a JSON object: an object for each group."""
        return {part: getattr(self, part).as_dict() for part in _GROUPS}

    @classmethod
    def from_dict(cls, stored: object) -> "Spec":
        """Read what :meth:`as_dict` gave.

        Raises:
            InputError: a group or a name is missing or unknown, or a value is refused.
        """
        if not isinstance(stored, Mapping) or set(stored) | _LATER != set(_GROUPS):
            raise InputError(
                f"the spec is {shown(stored)}: an object of {', '.join(_GROUPS)} is expected."
            )
        parts: dict[str, Any] = {
            part: group.from_dict(stored.get(part, {})) for part, group in _GROUPS.items()
        }
        return cls(**parts)


_GROUPS: dict[str, type[Validated]] = {
    f.name: type(f.default) for f in fields(Spec) if isinstance(f.default, Validated)
}

_LATER = {"contrast"}
"""Groups that older files lack: everything in them then has its default."""

_OWNERS = {name: group for group in _GROUPS.values() for name in described(group)}


def names() -> dict[str, tuple[str, Any, Setting]]:
    """Every setting by name: title of its group, annotation and description."""
    return {
        name: (group.group, *described(group)[name])
        for group in _GROUPS.values()
        for name in described(group)
    }


def _of_group(group: type[Validated], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if _OWNERS[name] is group}

"""Every setting of a detector, in one place: a file for each group, and all of them together.

The command line, Python, a detector's file and what ``info`` prints are views of :class:`Spec`. A
new setting is a field of its group, and the place that uses it. Nothing heavy is imported: the
command line makes its options from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pyramidflow.errors import InputError, shown
from pyramidflow.model.architecture import Architecture
from pyramidflow.model.encoder import IMAGENET_MEAN, IMAGENET_STD
from pyramidflow.model.encoders import settings_of_encoder
from pyramidflow.spec.alignment import AS_THEY_LIE, AlignmentRule
from pyramidflow.spec.preprocessing import AUTO, ImageSize, Preprocessing, image_size, size_text
from pyramidflow.spec.recipe import Ablation, Memory, Recipe
from pyramidflow.spec.rules import (
    DEFAULT_CONTRAST,
    PLAIN_CONTRAST,
    PLAIN_VERDICT,
    ContrastRule,
    RegionOfInterest,
    VerdictRule,
)
from pyramidflow.validated import Setting, Validated, described

__all__ = [
    "AUTO",
    "DEFAULT_CONTRAST",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PLAIN_CONTRAST",
    "Ablation",
    "AlignmentRule",
    "Architecture",
    "ContrastRule",
    "ImageSize",
    "Memory",
    "Preprocessing",
    "Recipe",
    "RegionOfInterest",
    "Spec",
    "VerdictRule",
    "image_size",
    "names",
    "size_text",
]


@dataclass(frozen=True)
class Spec:
    """All settings of a detector: the command line, Python and the file are views of it.

    Attributes:
        network: what fixes the network's shape.
        preprocessing: how images become network input.
        alignment: whether parts are brought to one pose.
        recipe: how the network is trained.
        contrast: how an image is compared with the training images.
        rule: how an anomaly map becomes a verdict.

    Raises:
        InputError: two settings contradict each other.
    """

    network: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    alignment: AlignmentRule = AS_THEY_LIE
    recipe: Recipe = Recipe()
    contrast: ContrastRule = DEFAULT_CONTRAST
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
        if self.alignment.align != "none" and self.recipe.augment != "none":
            raise InputError(
                f"align is {self.alignment.align} and augment {self.recipe.augment}: parts are "
                "brought to one pose, or flipped and turned at random; leave one of both out."
            )
        if not (self.network.pyramid_difference or self.contrast.is_plain):
            raise InputError(
                f"the contrast is {self.contrast.text}, but without pyramid-difference an image is "
                "compared with the template alone: leave these settings out."
            )
        if "template" in self.recipe.without and not self.contrast.has_one_template:
            raise InputError(
                f"the contrast is {self.contrast.text}, but without template there is nothing to "
                "compare with but zero: leave these settings out."
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

        Where ``without`` names a part of the network, the network is built without it. An ablation
        compares with the template alone, as published, unless a contrast is named.

        Args:
            settings: any of :func:`names`.

        Raises:
            InputError: a name is unknown, or a value is refused.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        following: dict[str, Any] = {}
        for name in given:
            if name not in _OWNERS:
                raise InputError(
                    f"there is no setting {shown(name)}: choose from {', '.join(sorted(_OWNERS))}."
                )
        if not set(given) >= {"channels", "image_size", "mean", "std"}:
            # Only then is the encoder asked: it may need a package.
            encoder = given.get("encoder", Architecture.encoder)
            following = settings_of_encoder(encoder, given.get("encoder_stages", ()))
        without = Recipe(**_of_group(Recipe, given)).without
        if without:
            following |= PLAIN_CONTRAST.as_dict()
        given = following | given
        if "volume-norm" in without:
            given["volume_norm"] = "none"
        if "pyramid-difference" in without:
            given["pyramid_difference"] = False
        parts: dict[str, Any] = {
            part: group(**_of_group(group, given)) for part, group in _GROUPS.items()
        }
        return cls(**parts)

    def changed(self, **settings: Any) -> "Spec":
        """This spec with other values of some settings; ``None`` changes nothing.

        An ablation that is named here brings its contrast where this spec has the default one.
        """
        kept = self.as_settings()
        if settings.get("without") and self.contrast == DEFAULT_CONTRAST:
            kept = {name: v for name, v in kept.items() if _OWNERS[name] is not ContrastRule}
        return Spec.of(kept | {k: v for k, v in settings.items() if v is not None})

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
        if not isinstance(stored, Mapping) or set(stored) | set(_BEFORE) != set(_GROUPS):
            raise InputError(
                f"the spec is {shown(stored)}: an object of {', '.join(_GROUPS)} is expected."
            )
        parts: dict[str, Any] = {
            part: group.from_dict(stored[part]) if part in stored else _BEFORE[part]
            for part, group in _GROUPS.items()
        }
        return cls(**parts)


_GROUPS: dict[str, type[Validated]] = {
    f.name: type(f.default) for f in fields(Spec) if isinstance(f.default, Validated)
}

_BEFORE = {"alignment": AS_THEY_LIE, "contrast": PLAIN_CONTRAST}
"""Groups that older files lack, and what was done before there were any."""

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

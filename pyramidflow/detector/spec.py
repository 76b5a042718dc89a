"""Every setting of a detector, in one place."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from pyramidflow.data import Preprocessing
from pyramidflow.detector.verdict import VerdictRule
from pyramidflow.errors import InputError
from pyramidflow.model.architecture import RESNET_CHANNELS, Architecture
from pyramidflow.settings import Setting, Validated, described, shown
from pyramidflow.training.recipe import Recipe

RESNET_IMAGE_SIZE = 1024
"""Image size with a ResNet (supplement section 1.1)."""


@dataclass(frozen=True)
class Spec:
    """All settings of a detector: the command line, Python and the file are views of it.

    Attributes:
        network: what fixes the network's shape.
        preprocessing: how images become network input.
        recipe: how the network is trained.
        rule: how an anomaly map becomes a verdict.

    Raises:
        InputError: two settings contradict each other.
    """

    network: Architecture = Architecture()
    preprocessing: Preprocessing = Preprocessing()
    recipe: Recipe = Recipe()
    rule: VerdictRule = VerdictRule()

    def __post_init__(self) -> None:
        size, levels = self.preprocessing.image_size, self.network.levels
        least = 2 ** (levels - 1)
        if size < least:
            raise InputError(f"image_size is {size}: {levels} levels need at least {least}.")
        stride = self.network.stride
        if stride is not None:
            side = -(-size // stride)
            self.rule.interest((side, side), torch.device("cpu"))
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
        if str(given.get("encoder", "none")).startswith("resnet"):
            given = {"image_size": RESNET_IMAGE_SIZE, "channels": RESNET_CHANNELS} | given
        without = given.get("without", ())
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
        if not isinstance(stored, Mapping) or set(stored) != set(_GROUPS):
            raise InputError(
                f"the spec is {shown(stored)}: an object of {', '.join(_GROUPS)} is expected."
            )
        parts: dict[str, Any] = {
            part: group.from_dict(stored[part]) for part, group in _GROUPS.items()
        }
        return cls(**parts)


_GROUPS: dict[str, type[Validated]] = {
    f.name: type(f.default) for f in fields(Spec) if isinstance(f.default, Validated)
}

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

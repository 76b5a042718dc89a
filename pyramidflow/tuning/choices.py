"""The settings that a tuning tries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pyramidflow.errors import InputError, shown
from pyramidflow.spec import ContrastRule, VerdictRule, names
from pyramidflow.validated import without_none

COMPARING = (ContrastRule.group, VerdictRule.group)
"""Groups whose settings need no other training."""


@dataclass(frozen=True)
class Choice:
    """Settings of which the best is taken.

    Attributes:
        alternatives: each is settings by name, as :class:`pyramidflow.spec.Spec` has them.

    Raises:
        InputError: the spec has no setting of a name.
    """

    alternatives: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in names():
                raise InputError(
                    f"{shown(name)} is no setting to choose: choose from {', '.join(names())}."
                )

    @classmethod
    def of(cls, name: str, *values: Any) -> "Choice":
        """Of one setting.

        Args:
            name: of the setting.
            values: to try; by default all that the setting can have, but for those that follow from
                other settings.

        Raises:
            InputError: the spec has no such setting.
        """
        return cls(tuple({name: value} for value in values or _all_values(name)))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the settings."""
        return tuple(dict.fromkeys(name for some in self.alternatives for name in some))

    @property
    def needs_training(self) -> bool:
        """Whether a network has to be trained for each alternative."""
        return any(names()[name][0] not in COMPARING for name in self.names)


def _all_values(name: str) -> tuple[Any, ...]:
    _, kind, described = names().get(name, (None, None, None))
    if described is None:
        return (None,)  # what is wrong with the name is said where the choice is made
    kind = without_none(kind)
    if kind is bool:
        return (False, True)
    if get_origin(kind) is None or not all(isinstance(value, str) for value in get_args(kind)):
        raise InputError(f"{name} can have any number of values: name those to try.")
    return tuple(value for value in get_args(kind) if value not in described.implied)


_NO_TEMPLATE = {
    "spread": "none",
    "position": "pixel",
    "templates": 1,
    "tolerance": 0,
    "fusion": "sum",
}
"""What a codebook asks of the settings that it replaces."""

CHOICES = (
    Choice.of("light"),
    Choice.of("spread"),
    Choice(({"position": "none", "spread": "channel"},)),
    Choice(tuple({"templates": count, "fusion": "sum"} for count in (2, 4))),
    Choice(({"tolerance": 1, "fusion": "sum"},)),
    Choice(({"codebook": 0.1} | _NO_TEMPLATE, {"codebook": 1.0, "beside_template": True})),
    Choice.of("fusion"),
    Choice.of("smoothing", 0.0, 1.0, 2.0),
    Choice.of("image_size", "auto"),
    Choice.of("brightness", "auto"),
    Choice.of("volume_norm"),
    Choice.of("align"),
    Choice.of("levels", 3, 4, 5),
)
"""In the order in which they are made. A new setting is tried by one line here."""


def written(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as people write them: ``name=value``."""
    return tuple(f"{name}={_text(name, value)}" for name, value in settings.items())


def _text(name: str, value: Any) -> str:
    described = names()[name][2]
    if isinstance(value, bool):
        return "true" if value else "false"
    return described.text(value)

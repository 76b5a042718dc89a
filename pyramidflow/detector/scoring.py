"""What the scores of a trained detector follow from beside its network: the verdict's settings.

Thresholds count for scores that are made in the same way, and for no others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.spec import VerdictRule
from pyramidflow.spec.areas import Areas, MaskPicture, listed
from pyramidflow.validated import Validated, setting

DIGITS = 16
"""Of a mask picture's digest."""


@dataclass(frozen=True)
class Scoring(Validated):
    """How a score is made from the network's map, so far as it can change without a training.

    What makes no other score is left out: a scale, the order of areas, a mask picture's name.

    Attributes:
        region_of_interest: areas where defects count, as texts in order; none is the whole image.
            A mask picture is ``mask:`` and the beginning of its pixels' SHA-256.
        exclude: areas that do not count, likewise.
        smoothing: standard deviation of the Gaussian on the map, in the map's pixels.
        minimum_area: of a region, in pixels of the image.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "settings that scores follow from"

    region_of_interest: tuple[str, ...] = setting(())
    exclude: tuple[str, ...] = setting(())
    smoothing: float = setting(0.0, least=0)
    minimum_area: float = setting(0.0, least=0)

    @classmethod
    def of(cls, rule: VerdictRule, masks: Sequence[Tensor]) -> "Scoring":
        """The scoring of a rule.

        Args:
            rule: the verdict's settings.
            masks: those of its mask pictures, uint8 ``[H, W]`` each, in order.
        """
        digests = {name: _digest(mask) for name, mask in zip(rule.masks, masks, strict=True)}
        return cls(
            _texts(rule.region_of_interest, digests),
            _texts(rule.exclude, digests),
            rule.smoothing,
            rule.least_area,
        )

    def difference(self, other: "Scoring") -> str:
        """The settings that differ, with the values of this one: ``smoothing 0, exclude nothing``.

        Args:
            other: to compare with; an equal one gives an empty text.
        """
        found = []
        for name, value in self.as_dict().items():
            if value != other.as_dict()[name]:
                text = " ".join(value) if isinstance(value, list) else f"{value:g}"
                found.append(f"{name} {text or _WITHOUT_AREAS[name]}")
        return ", ".join(found)


_WITHOUT_AREAS = {"region_of_interest": "the whole image", "exclude": "nothing"}


def read_scoring(stored: object) -> Scoring | None:
    """What a calibration holds of it: an object, or nothing in a file of an older version.

    Raises:
        ValueError: it is neither.
    """
    if stored is None or isinstance(stored, Scoring):
        return stored
    if not isinstance(stored, Mapping):
        raise ValueError("an object of names and values is expected")
    try:
        return Scoring.from_dict(stored)
    except InputError as error:
        raise ValueError(str(error).rstrip(".")) from error


def _texts(areas: Areas | None, digests: Mapping[str, str]) -> tuple[str, ...]:
    texts = {
        f"mask:{digests[area.file]}" if isinstance(area, MaskPicture) else area.text
        for area in listed(areas)
    }
    return tuple(sorted(texts))


def _digest(mask: Tensor) -> str:
    pixels: Any = mask.cpu().numpy()
    shape = "×".join(map(str, pixels.shape))
    return hashlib.sha256(shape.encode() + (pixels > 0).tobytes()).hexdigest()[:DIGITS]

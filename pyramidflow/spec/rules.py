"""Settings of what follows the network: how latents are compared, and how a map is judged."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.settings import Validated, setting


@dataclass(frozen=True)
class ContrastRule(Validated):
    """How the latents of an image are compared with those of the training images.

    Attributes:
        spread: what a contrast is divided by: nothing, the standard deviation of the training
            latents of its channel, or that at its pixel.
        light: whether each channel's mean over the image is taken off before.
        robust: share of the training images that template and spread leave out, those that differ
            most from the others.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "contrast settings"

    spread: Literal["none", "channel", "pixel"] = setting(
        "none",
        "Divide what differs by how much good images differ there: in the channel, or at each "
        "pixel (for parts that always lie in the same place, from about 20 images on).",
    )
    light: bool = setting(False, "Take the change of light of a whole image off.")
    robust: float = setting(
        0.0,
        "Share of the training images that may be bad: those that differ most from the others "
        "are left out of what is normal, and listed.",
        least=0,
        most=0.4,
    )

    @property
    def is_plain(self) -> bool:
        """Whether latents are compared with their template alone."""
        return self.spread == "none" and not self.light


PLAIN_CONTRAST = ContrastRule()
"""With the template alone."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VerdictRule(Validated):
    """Where on an image defects count, and what is done to the map before it is judged.

    Attributes:
        region_of_interest: ``(left, top, right, bottom)`` as fractions of width and height; the
            anomaly map is zero outside. ``None`` is the whole image.
        smoothing: standard deviation of a Gaussian on the anomaly map, in the map's pixels.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "verdict settings"

    region_of_interest: Box | None = setting(
        None,
        "Left, top, right, bottom as fractions of the image; defects outside are ignored.",
        shown_default="the whole image",
    )
    smoothing: float = setting(
        0.0,
        "Standard deviation of a Gaussian on the anomaly map, in the map's pixels.",
        least=0,
        most=64,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        box = self.region_of_interest
        if box is not None and not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise InputError(
                f"region_of_interest is {list(box)}: give left, top, right, bottom as fractions of "
                "the image, 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1."
            )

    def holds_a_pixel(self, size: tuple[int, int]) -> bool:
        """Whether a pixel's centre of an anomaly map of ``(h, w)`` lies inside."""
        left, top, right, bottom = self.region_of_interest or (0, 0, 1, 1)
        sides = ((top, bottom, size[0]), (left, right, size[1]))
        return all(any(a <= (i + 0.5) / n < b for i in range(n)) for a, b, n in sides)


PLAIN_VERDICT = VerdictRule()
"""Of the whole map as it is."""

"""From an anomaly map to a verdict: where defects count, and what is still good."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.settings import Validated, setting

Verdict = Literal["ok", "ng"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class VerdictRule(Validated):
    """Where on an image defects count.

    Attributes:
        region_of_interest: ``(left, top, right, bottom)`` as fractions of width and height; the
            anomaly map is zero outside. ``None`` is the whole image.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "verdict settings"

    region_of_interest: Box | None = setting(
        None,
        "Left, top, right, bottom as fractions of the image; defects outside are ignored.",
        least=0,
        most=1,
        shown_default="the whole image",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        box = self.region_of_interest
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise InputError(
                f"region_of_interest is {list(box)}: give left, top, right, bottom as fractions of "
                "the image, 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1."
            )

    def interest(self, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """Mask of the region of interest.

        Args:
            size: height and width of the anomaly map.
            device: where the mask lives.

        Returns:
            ``[h, w]``, 1 for pixels whose centre lies inside, else 0; ``None`` where all do.

        Raises:
            InputError: no pixel's centre lies inside.
        """
        if self.region_of_interest is None:
            return None
        left, top, right, bottom = self.region_of_interest
        y = (torch.arange(size[0], device=device) + 0.5) / size[0]
        x = (torch.arange(size[1], device=device) + 0.5) / size[1]
        inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))  # [h, w]
        if not inside.any():
            raise InputError(
                f"region_of_interest is {list(self.region_of_interest)}: it holds no pixel of the "
                f"anomaly map, which has {size[0]}×{size[1]}; give a larger region."
            )
        return inside.float()


def judge(score: float, threshold: float) -> Verdict:
    """``"ng"`` where the score exceeds the threshold.

    Raises:
        InputError: the score is not finite.
    """
    if not math.isfinite(score):
        raise InputError(
            f"the score is {score}: a finite number is expected; inspect in float32, or train "
            "again."
        )
    return "ng" if score > threshold else "ok"

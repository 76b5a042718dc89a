"""The threshold that good images alone can give, and what is known about it."""

import math
import numbers
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.settings import Validated, setting, shown

TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "half": 1e-2, "bfloat16": 5e-2}
"""Share of a score that rounding may change, by the precision of an inspection: between backends,
processors and plans. A score this little above the threshold's image is still that image's."""

LARGEST_THRESHOLD = 1e38
"""Scores are float32: above its largest number, 3.4e38, no part could ever be defective."""

SMALLEST_RATE = 1e-12
"""Of false rejects; fewer than one in so many parts nobody can promise."""

Origin = Literal["held-out", "given", "training", "by hand"]


@dataclass(frozen=True)
class Calibration(Validated):
    """A threshold with what it was made from.

    Attributes:
        threshold: largest score that is still good, in the calibration's precision.
        source: the images: ``"held-out"`` from the training, ``"given"``, or the ``"training"``'s
            own where none was held out; ``"by hand"`` if a person set the threshold.
        images: how many.
        trained_on: how many of them the network was trained on; their scores are too low.
        target_false_reject_rate: share of good parts that may be rejected.
        promised_false_reject_rate: share that this many images can promise.
        rank: of the score that the threshold is, from below.
        images_needed_for_target: as many would promise the target.
        tolerance: share that the threshold lies above that score, for rounding.
        precision: of the inspections that gave the scores.
        device: where they ran.
        backend: of the operations.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "calibration"

    threshold: float = setting(least=0, most=LARGEST_THRESHOLD)
    source: Origin = setting()
    images: int = setting(0, least=0)
    trained_on: int = setting(0, least=0)
    target_false_reject_rate: float | None = setting(None, above=0, most=1)
    promised_false_reject_rate: float | None = setting(None, least=0, most=1)
    rank: int | None = setting(None, least=1)
    images_needed_for_target: int | None = setting(None, least=0)
    tolerance: float = setting(0.0, least=0)
    precision: str | None = setting(None)
    device: str | None = setting(None)
    backend: str | None = setting(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is not None and self.precision not in TOLERANCES:
            raise InputError(
                f"precision is {self.precision!r}: choose one of {', '.join(TOLERANCES)}."
            )

    @classmethod
    def by_hand(cls, threshold: float) -> "Calibration":
        """A threshold that a person chose.

        Raises:
            InputError: it is negative or not finite.
        """
        return cls(threshold=threshold, source="by hand")

    def threshold_at(self, precision: str) -> float:
        """The threshold for inspections in another precision.

        A coarser precision than the calibration's widens the tolerance to its own; a threshold by
        hand is taken as it is.
        """
        widest = max(self.tolerance, TOLERANCES[precision])
        if self.source == "by hand" or self.precision is None or widest == self.tolerance:
            return self.threshold
        return self.threshold * (1 + widest) / (1 + self.tolerance)

    def as_dict(self) -> dict[str, Any]:
        """The record as a JSON object, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Conditions:
    """Under which scores were taken.

    Attributes:
        precision: of the arithmetic.
        device: as ``"cpu"`` or ``"cuda:0"``.
        backend: of the operations.
    """

    precision: str
    device: str
    backend: str


def conformal_calibration(
    scores: Sequence[float],
    target_false_reject_rate: float,
    *,
    source: Origin,
    conditions: Conditions,
    trained_on: int = 0,
) -> Calibration:
    """Threshold that keeps the rate of false rejects, from the scores of good images.

    With ``n`` scores in ascending order it is the ``k``-th, ``k = ⌈(n + 1)(1 − rate)⌉``, and the
    tolerance for rounding above it: a further good image, drawn like these, scores higher with
    probability at most ``1 − k / (n + 1) ≤ rate``. Where ``n < 1/rate − 1`` no score gives that
    promise and the largest one is taken.

    Args:
        scores: of good images.
        target_false_reject_rate: in (0, 1), at least :data:`SMALLEST_RATE`.
        source: of the images.
        conditions: under which the scores were taken.
        trained_on: how many of the images the network was trained on.

    Raises:
        InputError: no scores, one that is not finite, or a rate outside (0, 1).

    Source: split conformal prediction (Vovk, Gammerman, Shafer, 2005).
    """
    rate = target_false_reject_rate
    if not isinstance(rate, numbers.Real) or not SMALLEST_RATE <= rate < 1:
        raise InputError(
            f"the target false reject rate is {shown(rate)}: give a number between 0 and 1, at "
            f"least {SMALLEST_RATE:g}."
        )
    if len(scores) == 0:
        raise InputError("there are no images to calibrate on: give good images.")
    if not all(map(math.isfinite, scores)):
        raise InputError("a good image's score is not finite: inspect in float32, or train again.")
    count = len(scores)
    rounding = 1e-9  # (n + 1)(1 − rate) is often a whole number, but not in binary
    rank = max(1, min(math.ceil((count + 1) * (1 - rate) - rounding), count))
    tolerance = TOLERANCES[conditions.precision]
    return Calibration(
        threshold=sorted(scores)[rank - 1] * (1 + tolerance),
        source=source,
        images=count,
        trained_on=trained_on,
        target_false_reject_rate=rate,
        promised_false_reject_rate=1 - rank / (count + 1),
        rank=rank,
        images_needed_for_target=math.ceil(1 / rate - 1 - rounding),
        tolerance=tolerance,
        **asdict(conditions),
    )

"""The threshold that good images alone can give, and what is known about it."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

from pyramidflow.detector.scoring import Scoring, read_scoring
from pyramidflow.errors import InputError, shown
from pyramidflow.validated import Validated, setting

TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "half": 1e-2, "bfloat16": 5e-2}
"""Share of a score that rounding may change, by the precision of an inspection: between backends,
processors and plans. A score this little above the threshold's image is still that image's."""

LARGEST_THRESHOLD = 1e38
"""Scores are float32: above its largest number, 3.4e38, no part could ever be defective."""

ROUNDING = 1e-9
"""``(n + 1)(1 − rate)`` is often a whole number, but not in binary."""

SMALLEST_RATE = 1e-12
"""Of false rejects; fewer than one in so many parts nobody can promise."""

Origin = Literal["held-out", "given", "training", "by hand"]


@dataclass(frozen=True)
class Calibration(Validated):
    """The thresholds with what they were made from.

    Attributes:
        threshold: largest score that is not ``"ng"``, in the calibration's precision.
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
        review_threshold: largest score that is ``"ok"``, where scores between it and the threshold
            are for review; likewise, or by hand where no rate was aimed at.
        target_review_rate: share of good parts that may be for review or rejected.
        promised_review_rate: share that this many images can promise.
        review_rank: of the score that the review threshold is, from below.
        pixel_threshold: values of the map above it belong to a region, by hand; ``None`` takes the
            lowest threshold of the verdict.
        scored_by: how the scores were made that the thresholds count for; ``None`` where a file of
            an older version does not say it.

    Raises:
        InputError: a value has another type, or is out of its range, or the review threshold is
            above the threshold.
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
    review_threshold: float | None = setting(None, least=0, most=LARGEST_THRESHOLD)
    target_review_rate: float | None = setting(None, above=0, most=1)
    promised_review_rate: float | None = setting(None, least=0, most=1)
    review_rank: int | None = setting(None, least=1)
    pixel_threshold: float | None = setting(None, least=0, most=LARGEST_THRESHOLD)
    scored_by: Scoring | None = setting(None, convert=read_scoring)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.review_threshold is not None and self.review_threshold > self.threshold:
            raise InputError(
                f"review_threshold is {self.review_threshold:g} and threshold "
                f"{self.threshold:g}: scores between them are for review, give a review threshold "
                "of at most the threshold."
            )
        if self.precision is not None and self.precision not in TOLERANCES:
            raise InputError(
                f"precision is {self.precision!r}: choose one of {', '.join(TOLERANCES)}."
            )

    @classmethod
    def by_hand(cls, threshold: float, scoring: Scoring | None = None) -> "Calibration":
        """A threshold that a person chose.

        Args:
            threshold: largest score that is not ``"ng"``.
            scoring: how the scores are made that it is meant for.

        Raises:
            InputError: it is negative or not finite.
        """
        return cls(threshold=threshold, source="by hand", scored_by=scoring)

    def stale(self, scoring: Scoring) -> str | None:
        """Why scores cannot be judged by these thresholds; ``None`` where they can.

        Args:
            scoring: how the scores are made.

        Returns:
            A sentence that says what to do.
        """
        made = self.scored_by
        if made is None or made == scoring:
            return None
        return (
            f"the thresholds were made for scores with {made.difference(scoring)}, and now it is "
            f"{scoring.difference(made)}: calibrate on good images again, or set the thresholds by "
            "hand."
        )

    def with_thresholds(
        self,
        threshold: float | None = None,
        review_threshold: float | None = None,
        pixel_threshold: float | None = None,
        scoring: Scoring | None = None,
    ) -> "Calibration":
        """This calibration with thresholds that a person chose; ``None`` keeps one.

        Args:
            threshold: largest score that is not ``"ng"``.
            review_threshold: largest score that is ``"ok"``.
            pixel_threshold: the map's value above which pixels belong to a region.
            scoring: how the scores are made now; ``None`` takes them for those of before.

        Raises:
            InputError: a threshold is negative or not finite, the review threshold is above the
                threshold, or one that would be kept was made for other scores.
        """
        found = self
        if threshold is not None:
            lower = {"review_threshold": review_threshold, "pixel_threshold": pixel_threshold}
            kept = {name: getattr(self, name) for name, given in lower.items() if given is None}
            made = self.scored_by if scoring is None else scoring
            self._check_kept(kept, made)
            found = replace(Calibration.by_hand(threshold, made), **lower | kept)
        elif review_threshold is not None:
            found = self.with_review(review_threshold)
        if pixel_threshold is not None:
            found = replace(found, pixel_threshold=pixel_threshold)
        return found

    def _check_kept(self, kept: Mapping[str, float | None], scoring: Scoring | None) -> None:
        reason = None if scoring is None else self.stale(scoring)
        for name, value in kept.items():
            if reason is not None and value is not None:
                raise InputError(f"{name} is {value:g} and would stay, but {reason}")

    def with_review(self, review_threshold: float | None) -> "Calibration":
        """This calibration with a review threshold by hand, or with none.

        Raises:
            InputError: it is negative or not finite, or above the threshold.
        """
        return replace(
            self,
            review_threshold=review_threshold,
            target_review_rate=None,
            promised_review_rate=None,
            review_rank=None,
        )

    def threshold_at(self, precision: str) -> float:
        """The threshold for inspections in another precision.

        A coarser precision than the calibration's widens the tolerance to its own; a threshold by
        hand is taken as it is.
        """
        return self.threshold * self._widening(precision)

    def review_threshold_at(self, precision: str) -> float | None:
        """The review threshold likewise; ``None`` where no score is for review."""
        if self.review_threshold is None or self.target_review_rate is None:
            return self.review_threshold
        return self.review_threshold * self._widening(precision)

    def pixel_threshold_at(self, precision: str) -> float:
        """The map's value above which pixels belong to a region, likewise."""
        if self.pixel_threshold is not None:
            return self.pixel_threshold
        review = self.review_threshold_at(precision)
        return self.threshold_at(precision) if review is None else review

    def _widening(self, precision: str) -> float:
        widest = max(self.tolerance, TOLERANCES[precision])
        if self.source == "by hand" or self.precision is None or widest == self.tolerance:
            return 1.0
        return (1 + widest) / (1 + self.tolerance)

    def as_dict(self) -> dict[str, Any]:
        """The record as a JSON object, without what is not known."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        made = {} if self.scored_by is None else {"scored_by": self.scored_by.as_dict()}
        return known | made


def with_thresholds_by_hand(
    found: Calibration | None,
    scoring: Scoring,
    threshold: float | None = None,
    review_threshold: float | None = None,
    pixel_threshold: float | None = None,
) -> Calibration | None:
    """A calibration with thresholds that a person chose, also where there was none.

    Args:
        found: the calibration; ``None`` where there is none.
        scoring: how the scores are made now.
        threshold: largest score that is not ``"ng"``; ``None`` keeps the calibration's.
        review_threshold: largest score that is ``"ok"``; likewise.
        pixel_threshold: the map's value above which pixels belong to a region; likewise.

    Returns:
        ``None`` where there is no calibration and no threshold is given.

    Raises:
        InputError: as :meth:`Calibration.with_thresholds`, or there is no calibration and only a
            lower threshold is given.
    """
    lower = (review_threshold, pixel_threshold)
    if threshold is None and found is None:
        if lower == (None, None):
            return None
        raise InputError(
            "this detector has no threshold yet, but a review or pixel threshold is given: "
            "give threshold, too, or calibrate it on good images."
        )
    if found is None:
        found = Calibration.by_hand(threshold or 0.0)
    return found.with_thresholds(threshold, *lower, scoring)


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
    target_review_rate: float | None = None,
) -> Calibration:
    """Thresholds that keep rates of good parts, from the scores of good images.

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
        target_review_rate: share of good parts that may be for review or rejected, above the rate
            of false rejects; the review threshold follows from it in the same way. ``None`` sends
            no score to review.

    Raises:
        InputError: no scores, one that is not finite, a rate outside (0, 1), or a review rate that
            is not above that of false rejects.

    Source: split conformal prediction (Vovk, Gammerman, Shafer, 2005).
    """
    rate = _checked_rate("false reject", target_false_reject_rate)
    if target_review_rate is not None and _checked_rate("review", target_review_rate) <= rate:
        raise InputError(
            f"the target review rate is {target_review_rate:g} and the target false reject rate "
            f"{rate:g}: give a larger share of good parts that may be for review or rejected."
        )
    if len(scores) == 0:
        raise InputError("there are no images to calibrate on: give good images.")
    if not all(map(math.isfinite, scores)):
        raise InputError("a good image's score is not finite: inspect in float32, or train again.")
    count = len(scores)
    rank = _rank(count, rate)
    tolerance = TOLERANCES[conditions.precision]
    ascending = sorted(scores)
    return Calibration(
        threshold=ascending[rank - 1] * (1 + tolerance),
        source=source,
        images=count,
        trained_on=trained_on,
        target_false_reject_rate=rate,
        promised_false_reject_rate=1 - rank / (count + 1),
        rank=rank,
        images_needed_for_target=math.ceil(1 / rate - 1 - ROUNDING),
        tolerance=tolerance,
        **asdict(conditions),
        **_review(ascending, tolerance, target_review_rate),
    )


def _review(ascending: Sequence[float], tolerance: float, rate: float | None) -> dict[str, Any]:
    """What a calibration says of the review threshold, where a rate is aimed at."""
    if rate is None:
        return {}
    rank = _rank(len(ascending), rate)
    return {
        "review_threshold": ascending[rank - 1] * (1 + tolerance),
        "target_review_rate": rate,
        "promised_review_rate": 1 - rank / (len(ascending) + 1),
        "review_rank": rank,
    }


def _checked_rate(name: str, rate: float) -> float:
    if not isinstance(rate, numbers.Real) or not SMALLEST_RATE <= rate < 1:
        raise InputError(
            f"the target {name} rate is {shown(rate)}: give a number between 0 and 1, at "
            f"least {SMALLEST_RATE:g}."
        )
    return rate


def _rank(count: int, rate: float) -> int:
    """Which score, from below, a good part exceeds with at most a rate."""
    return max(1, min(math.ceil((count + 1) * (1 - rate) - ROUNDING), count))

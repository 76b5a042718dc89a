"""Evaluating a detector on a category's test images."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyramidflow.data import Category, Sample, read_image
from pyramidflow.detector import Detector, Session, Verdict
from pyramidflow.detector.verdict import judge
from pyramidflow.errors import ImagesWarning, InputError
from pyramidflow.evaluation.accumulate import PixelStatistics
from pyramidflow.evaluation.metrics import Metrics, metrics_of, thin_curve
from pyramidflow.evaluation.ranking import FloatArray, Ranking, rank
from pyramidflow.evaluation.rates import Mistakes, Rate, mistakes
from pyramidflow.evaluation.truth import failure_sentence, truth_of
from pyramidflow.evaluation.unusable import UNUSABLE
from pyramidflow.io.names import printable
from pyramidflow.spec import ImageSize

Curve: TypeAlias = tuple[FloatArray, FloatArray]
"""False-positive rates and heights, each ``[points]``."""


@dataclass(frozen=True)
class Outcome:
    """What came of one test image.

    Attributes:
        sample: the image and what is known about it.
        score: the detector's; ``None`` where the image could not be measured.
        error: why the image or its mask could not be used, in a sentence; ``None`` if both could.
        verdict: the detector's; ``None`` where there is no score.
    """

    sample: Sample
    score: float | None
    error: str | None
    verdict: Verdict | None = None

    @property
    def path(self) -> Path:
        """The image file."""
        return self.sample.path


@dataclass(frozen=True)
class Evaluation:
    """What a detector did on a category's test images.

    Attributes:
        category: the category's name.
        metrics: threshold-free metrics of what could be measured; those of the pixels at the size
            that the detector works at, so that they compare with published numbers.
        threshold: the detector's.
        image_size: height and width of the maps that were measured, in pixels.
        outcomes: one for each test image.
        defects: connected regions of the masks, in the images as they are.
        small_defects: those of them that lie between the centres of the working pixels; see
            :func:`pyramidflow.evaluation.masks.reduce_mask`.
        pixel_roc: ROC curve over the pixels, thinned for drawing; ``None`` if it is not defined.
        pro: per-region overlap curve, likewise.
        seconds: time to read and inspect the images, without that of their masks and the metrics.
        training: the detector's training record.
        pixel_counts: pixels at the pixel threshold: found on defects, found elsewhere, missed.
        detector_name: what tells detectors apart that are measured together.
        review_threshold: the detector's; ``None`` where no score is for review.
    """

    category: str
    metrics: Metrics
    threshold: float
    image_size: ImageSize
    outcomes: tuple[Outcome, ...]
    defects: int
    small_defects: int
    pixel_roc: Curve | None
    pro: Curve | None
    seconds: float
    training: dict[str, Any]
    pixel_counts: tuple[int, int, int]
    detector_name: str = ""
    review_threshold: float | None = None

    @cached_property
    def measured(self) -> tuple[Outcome, ...]:
        """The ``N`` test images that have a score."""
        return tuple(outcome for outcome in self.outcomes if outcome.score is not None)

    @cached_property
    def failures(self) -> tuple[Outcome, ...]:
        """The test images that could not be used, or not fully: without their mask."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The measured images, ``N``."""
        return tuple(outcome.path for outcome in self.measured)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """``"good"`` or the kind of defect of the measured images, ``N``."""
        return tuple(outcome.sample.kind for outcome in self.measured)

    @cached_property
    def labels(self) -> npt.NDArray[np.bool_]:
        """``True`` for a defective image, ``[N]``."""
        return np.array([outcome.sample.is_defective for outcome in self.measured], dtype=bool)

    @cached_property
    def scores(self) -> FloatArray:
        """Of the measured images, ``[N]``."""
        return np.array([outcome.score for outcome in self.measured], dtype=np.float64)

    @cached_property
    def for_review(self) -> npt.NDArray[np.bool_]:
        """``True`` for a measured image with the verdict review, ``[N]``."""
        return np.array([outcome.verdict == "review" for outcome in self.measured], dtype=bool)

    @property
    def reviews(self) -> int:
        """Measured images between both thresholds, or of parts without a pose."""
        return int(self.for_review.sum())

    @cached_property
    def mistakes(self) -> Mistakes:
        """What the verdicts on the measured images get wrong."""
        verdicts: dict[bool, list[str]] = {False: [], True: []}
        for outcome in self.measured:
            verdicts[outcome.sample.is_defective].append(str(outcome.verdict))
        return mistakes(verdicts[False], verdicts[True])

    @property
    def good_reviews(self) -> Rate:
        """Good images for review; no false rejects."""
        return self.mistakes.good_reviews

    @property
    def false_rejects(self) -> Rate:
        """Good images that are ng."""
        return self.mistakes.false_rejects

    @property
    def escapes(self) -> Rate:
        """Defective images that are ok: not ng, nor for review."""
        return self.mistakes.escapes

    @property
    def detection_rate(self) -> float:
        """Share of the defective images that are not ok; NaN without defective images."""
        return 1 - self.escapes.value

    @property
    def pixel_f1(self) -> float:
        """F1 of the pixels above the pixel threshold; NaN where there is no pixel to find."""
        true, false, missed = self.pixel_counts
        return 2 * true / (2 * true + false + missed) if true + missed else float("nan")


def evaluate(
    detector: Detector,
    category: Category,
    on_image: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Inspect the test images of a category and compute the metrics.

    An image that cannot be read or scored is left out of the metrics, one whose mask cannot be used
    out of those of the pixels; both are named in the result. Memory does not grow with the number
    of images: no map is kept.

    Args:
        detector: trained and calibrated.
        category: its test images and their ground truth.
        on_image: called after each image.

    Returns:
        Metrics with the evidence behind them.

    Raises:
        InputError: no test images, none that can be measured, or a detector without a threshold for
            its scores.
    """
    _check_has_tests(category)
    session = detector.session
    if session.threshold is None:
        raise InputError("this detector has no threshold yet: calibrate it on good images.")
    if session.stale is not None:
        raise InputError(session.stale)
    measuring = _Measuring(session, session.threshold)
    outcomes = []
    for sample in category.test:
        outcomes.append(measuring.outcome(sample))
        on_image()
    scored = [outcome for outcome in outcomes if outcome.score is not None]
    if not scored:
        raise InputError(
            f"none of the {len(outcomes)} test images of {printable(category.name)} could be "
            f"measured: {outcomes[0].error}"
        )
    scores = np.array([outcome.score for outcome in scored], dtype=np.float64)
    labels = np.array([outcome.sample.is_defective for outcome in scored], dtype=bool)
    pixels = measuring.pixels.ranking()
    return Evaluation(
        category=category.name,
        metrics=metrics_of(pixels, rank(scores[~labels], scores[labels])),
        threshold=session.threshold,
        image_size=measuring.size,
        outcomes=tuple(outcomes),
        defects=measuring.defects,
        small_defects=measuring.small_defects,
        pixel_roc=_drawn(pixels, pixels.recall),
        pro=_drawn(pixels, pixels.overlap),
        seconds=measuring.seconds,
        training=detector.training,
        pixel_counts=measuring.counts(),
        review_threshold=session.review_threshold,
    )


def _check_has_tests(category: Category) -> None:
    if not category.test:
        raise InputError(
            f"{printable(category.root)} has no test images: an evaluation needs test/good and "
            "test/DEFECT beside train (MVTec AD layout), or one of the other layouts with test "
            "images."
        )


class _Measuring:
    """Counts up what one image after the other adds."""

    def __init__(self, session: Session, threshold: float) -> None:
        self._session = session
        self._threshold = threshold
        above = session.pixel_threshold
        self._pixel_threshold = threshold if above is None else above
        self.size = session.size
        self.pixels = PixelStatistics()
        self.pixel_counts = np.zeros(3, np.int64)
        self.defects = 0
        self.small_defects = 0
        self.seconds = 0.0

    def outcome(self, sample: Sample) -> Outcome:
        started = time.perf_counter()
        try:
            image = read_image(sample.path, self._session.decoding)
            [found] = self._session.working_maps([image])
        except UNUSABLE as error:
            return Outcome(sample, None, failure_sentence(sample.path, error))
        finally:
            self.seconds += time.perf_counter() - started
        limits = (self._threshold, self._session.review_threshold)
        verdict = judge(found.score, *limits, is_placed=found.is_placed)
        try:
            reduced = truth_of(sample, image.shape[:2], self.size, self._session.decoding)
        except UNUSABLE as error:
            assert sample.mask_path is not None
            return Outcome(sample, found.score, failure_sentence(sample.mask_path, error), verdict)
        if sample.problem is not None:
            return Outcome(sample, found.score, sample.problem, verdict)
        if reduced is not None:
            if sample.is_defective and not reduced.defects:
                warnings.warn(
                    f"mask {printable(sample.mask_path)} marks no pixel, but its image counts as "
                    "defective: the numbers by pixel take all of it for good; draw the defect, or "
                    "move the image to the good ones.",
                    ImagesWarning,
                    stacklevel=2,
                )
            anomaly_map = self._session.resized(found)
            self.pixels.add(anomaly_map, reduced.mask)
            above = anomaly_map > np.float64(self._pixel_threshold)
            self.pixel_counts += [
                np.count_nonzero(above & reduced.mask),
                np.count_nonzero(above & ~reduced.mask),
                np.count_nonzero(~above & reduced.mask),
            ]
            self.defects += reduced.defects
            self.small_defects += reduced.small_defects
        return Outcome(sample, found.score, None, verdict)

    def counts(self) -> tuple[int, int, int]:
        true, false, missed = self.pixel_counts.tolist()
        return true, false, missed


def _drawn(pixels: Ranking, height: FloatArray) -> Curve | None:
    return thin_curve(*pixels.corners(height)) if len(height) else None

"""Methods side by side on one category: what they find, and how long they take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from pyramidflow.data import Category, Decoding, Pixels, Sample, read_image, resize_image, to_uint8
from pyramidflow.detector.findings import Map, resize_map
from pyramidflow.errors import InputError
from pyramidflow.evaluation.accumulate import PixelStatistics
from pyramidflow.evaluation.comparison.method import Method
from pyramidflow.evaluation.masks import BoolArray, ReducedMask
from pyramidflow.evaluation.metrics import Metrics, metrics_of
from pyramidflow.evaluation.ranking import rank
from pyramidflow.evaluation.truth import failure_sentence, truth_of
from pyramidflow.evaluation.unusable import UNUSABLE, reason_of
from pyramidflow.io.names import printable
from pyramidflow.spec import ImageSize


@dataclass(frozen=True)
class MethodResult:
    """What one method did.

    Attributes:
        name: of the method.
        settings: of it, in a few words.
        metrics: ``None`` where it failed. The score of an image is its map's maximum, for every
            method.
        good_scores: of the good test images, sorted, ``[N]``.
        training_seconds: to learn what is normal, reading included.
        milliseconds: for an image, from its decoded pixels to the map; median.
        error: why it failed.
    """

    name: str
    settings: str
    metrics: Metrics | None = None
    good_scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    training_seconds: float | None = None
    milliseconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Example:
    """A test image to draw.

    Attributes:
        sample: what is known about it.
        picture: uint8 ``[h, w, 3]``, at the size of the maps.
        mask: ``[h, w]``; ``None`` where it is not known.
        maps: by method, ``[h, w]``.
        scores: likewise.
    """

    sample: Sample
    picture: npt.NDArray[np.uint8]
    mask: BoolArray | None
    maps: dict[str, Map]
    scores: dict[str, float]


@dataclass(frozen=True)
class MethodComparison:
    """What all methods did.

    Attributes:
        category: its name.
        size: height and width that all maps are measured at.
        images: test images that were measured.
        results: of each method.
        examples: to draw.
        failures: why test images could not be used, or not with their masks.
    """

    category: str
    size: ImageSize
    images: int
    results: tuple[MethodResult, ...]
    examples: tuple[Example, ...]
    failures: tuple[str, ...]


def compare(
    methods: Sequence[Method],
    category: Category,
    size: Callable[[], ImageSize],
    decoding: Decoding,
    drawn: int,
    say: Callable[[str], object] = lambda line: None,
) -> MethodComparison:
    """Fit methods on the good images of a category, and measure them on its test images.

    Every map is brought to one size, by bilinear resizing. A method that fails is named in the
    result, as are images that cannot be used; they are left out for every method.

    Args:
        methods: to compare.
        category: its good images and test images.
        size: height and width to measure at; asked after the training, which may choose it.
        decoding: how test images are read.
        drawn: images to keep with their maps.
        say: takes a line of progress.

    Raises:
        InputError: there are no test images, or none can be measured, or no method works.
    """
    if not category.test:
        raise InputError(
            f"{printable(category.root)} has no test images: a comparison needs test/good and "
            "test/DEFECT beside train (MVTec AD layout), or one of the other layouts."
        )
    runs = [_fitted(method, category, say) for method in methods]
    measured_at = size()
    wanted = choose_examples(category.test, drawn)
    images, failures = 0, []
    examples: dict[Path, Example] = {}
    for number, sample in enumerate(category.test, 1):
        try:
            image = read_image(sample.path, decoding)
            truth = truth_of(sample, image.shape[:2], measured_at, decoding)
        except UNUSABLE as error:
            failures.append(failure_sentence(sample.path, error))
            continue
        if sample.problem is not None:
            failures.append(sample.problem)
        images += 1
        maps = {run.method.name: run.measure(image, sample, truth, measured_at) for run in runs}
        if sample in wanted or not examples:  # the first stands in where none of them can be read
            examples[sample.path] = _example(sample, image, truth, measured_at, maps)
        if number % 10 == 0:
            say(f"measured {number} of {len(category.test)} test images")
    results = tuple(run.result() for run in runs if images)
    _refuse_nothing(category, results, failures)
    chosen = [examples[sample.path] for sample in wanted if sample.path in examples]
    shown = tuple(chosen or examples.values())
    return MethodComparison(category.name, measured_at, images, results, shown, tuple(failures))


def choose_examples(test: Sequence[Sample], count: int) -> list[Sample]:
    """Which test images to draw: by their order alone, whatever a method finds on them.

    The first of each kind of defect, then the second of each, and so on; below them a good one,
    where there is one.

    Args:
        test: test images, sorted.
        count: to choose, at least 1.

    Returns:
        By kind.
    """
    by_kind: dict[str, list[Sample]] = {}
    for sample in test:
        if sample.is_defective:
            by_kind.setdefault(sample.kind, []).append(sample)
    in_turn = [each for row in zip_longest(*by_kind.values()) for each in row if each is not None]
    good = [sample for sample in test if not sample.is_defective]
    last = good[:1] if count > 1 or not in_turn else []
    return sorted(in_turn[: count - len(last)], key=lambda each: (each.kind, each.path)) + last


def _refuse_nothing(
    category: Category, results: Sequence[MethodResult], failures: Sequence[str]
) -> None:
    if not results:
        raise InputError(
            f"none of the {len(category.test)} test images of {printable(category.name)} could be "
            f"measured: {failures[0]}"
        )
    if all(result.metrics is None for result in results):
        raise InputError(f"no method could be measured: {results[-1].error}")


class _Run:
    """One method at work: what it has found so far, until it fails."""

    def __init__(self, method: Method, seconds: float, error: str | None) -> None:
        self.method = method
        self._seconds, self._error = seconds, error
        self._pixels = PixelStatistics()
        self._scores: list[float] = []
        self._labels: list[bool] = []
        self._times: list[float] = []

    def measure(
        self, image: Pixels, sample: Sample, truth: ReducedMask | None, size: ImageSize
    ) -> tuple[Map, float] | None:
        """The map at the common size, and the score."""
        if self._error is not None:
            return None
        started = time.perf_counter()
        try:
            [found] = self.method.maps([image])
            milliseconds = 1e3 * (time.perf_counter() - started)
            resized = resize_map(found, size)
            if truth is not None:
                self._pixels.add(resized, truth.mask)
        except UNUSABLE as error:
            self._error = failure_sentence(sample.path, error)
            return None
        self._times.append(milliseconds)
        self._scores.append(float(found.max()))
        self._labels.append(sample.is_defective)
        return resized, self._scores[-1]

    def result(self) -> MethodResult:
        name, settings = self.method.name, self.method.settings
        if self._error is not None:
            return MethodResult(name, settings, error=self._error)
        scores, labels = np.array(self._scores), np.array(self._labels)
        good = scores[~labels]
        metrics = metrics_of(self._pixels.ranking(), rank(good, scores[labels]))
        return MethodResult(
            name, settings, metrics, np.sort(good), self._seconds, median(self._times)
        )


def _fitted(method: Method, category: Category, say: Callable[[str], object]) -> _Run:
    say(f"{method.name}: {len(category.train)} good images")
    started, error = time.perf_counter(), None
    try:
        method.fit(category.train)
    except UNUSABLE as failure:
        error = reason_of(failure)
        say(f"{method.name} failed: {error}")
    return _Run(method, time.perf_counter() - started, error)


def _example(
    sample: Sample,
    image: Pixels,
    truth: ReducedMask | None,
    size: ImageSize,
    found: dict[str, tuple[Map, float] | None],
) -> Example:
    return Example(
        sample,
        to_uint8(resize_image(image, size)),
        None if truth is None else truth.mask,
        {name: each[0] for name, each in found.items() if each is not None},
        {name: each[1] for name, each in found.items() if each is not None},
    )

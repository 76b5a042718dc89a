"""Choosing settings one after the other, each on held-out good images with drawn defects."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyramidflow.data import CACHE_BYTES, Category, open_dataset
from pyramidflow.detector import Detector
from pyramidflow.detector.fitting import FitRun
from pyramidflow.detector.trials import Trial
from pyramidflow.errors import InputError
from pyramidflow.interrupt import Interrupted, StopRequest
from pyramidflow.spec import Spec
from pyramidflow.tuning.choices import CHOICES, Choice, written
from pyramidflow.tuning.measuring import STOPPED, Measurer, Subject, differences, network_of
from pyramidflow.tuning.progress import Progress, SilentProgress
from pyramidflow.tuning.results import Result, Results

LEAST_GAIN = 0.005
"""Of the criterion: a smaller one does not pay for a setting that is not the default."""

LEAST_GAIN_OF_TRAINING = 0.02
"""Two trainings differ by chance, which the held-out images do not tell."""

DEVIATIONS = 2.0
"""Standard errors of a gain, over draws of the held-out images, that it has to exceed."""


def tune(
    detector: Detector,
    data: "str | os.PathLike[str] | Category",
    *,
    keep: Sequence[str] = (),
    choices: Sequence[Choice] = CHOICES,
    results: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    cache_bytes: int = CACHE_BYTES,
    max_pixels: int | None = None,
) -> Detector:
    """Choose settings on good images alone.

    Of the images that the whole training takes, up to 20 are held out and up to 60 are trained on,
    for a quarter of the epochs. Settings are chosen one after the other by
    :attr:`pyramidflow.tuning.criterion.Parts.criterion`, first those that need no other training,
    then those that do, and, where one of these was taken, the first ones once more. A setting is
    taken where the criterion gains more than two standard errors, and more than 0.005 (0.02 after
    another training). The images that the whole training holds out for the threshold are not
    looked at, nor are test images.

    Args:
        detector: untrained, with the settings to begin with.
        data: good images: a folder, a data set, or an opened one.
        keep: names of settings that are not touched.
        choices: what is tried.
        results: file to keep results in, so that an interrupted tuning can go on.
        resume: go on from ``results``.
        progress: told how it goes.
        cache_bytes: memory for decoded images.
        max_pixels: pixels of the largest picture that is decoded; by default 178 million.

    Returns:
        An untrained detector with the chosen settings; :attr:`Detector.tuning` says why.

    Raises:
        InputError: too few images, an image cannot be read, or the results are another tuning's.
        Interrupted: a stop was requested; what was measured is in ``results``.
    """
    if not isinstance(data, Category):
        data = open_dataset(data)
    how = FitRun(show_progress=False, cache_bytes=cache_bytes, max_pixels=max_pixels)
    progress = progress or SilentProgress()
    subject = Subject.of(detector, data, max_pixels)
    kept = Results(results, subject.identity())
    if resume:
        kept.resume()
    wanted = [choice for choice in choices if not set(choice.names) & set(keep)]
    with StopRequest() as stop:

        def stop_if() -> None:
            if stop.requested:
                raise Interrupted(STOPPED)

        measurer = Measurer(subject, how, kept, stop_if, progress)
        return _Search(subject, measurer, progress).run(wanted)


@dataclass(frozen=True)
class _Candidate:
    """Settings, what they differ by from the best ones by then, and what came of them."""

    spec: Spec
    text: tuple[str, ...]
    result: Result
    gain: "_Gain | None"


class _Search:
    def __init__(self, subject: Subject, measurer: Measurer, progress: Progress) -> None:
        self._subject, self._measurer, self._progress = subject, measurer, progress
        self._trials: list[Trial] = []

    def run(self, choices: Sequence[Choice]) -> Detector:
        """Make the choices."""
        comparing = [choice for choice in choices if not choice.needs_training]
        training = [choice for choice in choices if choice.needs_training]
        exam = self._subject.exam
        self._progress.note(
            f"Settings are chosen on {len(exam.paths)} held-out good images and "
            f"{exam.defects} copies of them with drawn defects, after short trainings on "
            f"{len(self._subject.data.train)} images."
        )
        first = self._subject.first
        best = _Candidate(first, (), self._measurer.measure(first), None)
        self._record(best, True)
        self._progress.note(_expected(best.result, comparing, training))
        best = self._choose_all(comparing, best)
        before = network_of(best.spec)
        best = self._choose_all(training, best)
        if network_of(best.spec) != before:
            best = self._choose_all(comparing, best)
        return self._subject.detector.changed(tuple(self._trials), **best.spec.as_settings())

    def _choose_all(self, choices: Sequence[Choice], best: _Candidate) -> _Candidate:
        for choice in choices:
            best = self._choose(choice, best)
            self._measurer.forget_all_but(best.spec)
        return best

    def _choose(self, choice: Choice, best: _Candidate) -> _Candidate:
        tried = self._tried(choice, best)
        gaining = [one for one in tried if one.gain is not None and one.gain.is_enough]
        winner = max(gaining, key=lambda one: one.result.criterion, default=None)
        for one in tried:
            self._record(one, one is winner)
        return winner or best

    def _tried(self, choice: Choice, best: _Candidate) -> list[_Candidate]:
        tried = []
        for alternative in choice.alternatives:
            spec = self._subject.changed(best.spec, alternative)
            if spec is None or spec == best.spec:
                continue
            try:
                result = self._measurer.measure(spec)
            except InputError as error:  # such as parts that have no pose in common
                self._progress.note(f"{' '.join(written(alternative))} cannot be tried: {error}")
                continue
            text = tuple(written(differences(spec, best.spec)))
            gain = _gain(result, best.result, choice.needs_training)
            tried.append(_Candidate(spec, text, result, gain))
        return tried

    def _record(self, candidate: _Candidate, chosen: bool) -> None:
        trial = _trial(candidate, chosen)
        self._trials.append(trial)
        self._progress.tried(trial)


def _expected(first: Result, comparing: Sequence[Choice], training: Sequence[Choice]) -> str:
    """How long the rest takes at most, in a sentence."""
    trainings, comparisons = (
        sum(len(choice.alternatives) for choice in some) for some in (training, comparing)
    )
    measurements = trainings + 2 * comparisons
    seconds = trainings * first.training_seconds + measurements * first.measuring_seconds
    return (
        f"Up to {trainings} trainings and {measurements} measurements follow: about "
        f"{math.ceil(seconds / 60)} minutes, or less."
    )


@dataclass(frozen=True)
class _Gain:
    """Of the criterion, over the best settings by then.

    Attributes:
        gain: how much.
        needed: how much has to be exceeded.
    """

    gain: float
    needed: float

    @property
    def is_enough(self) -> bool:
        return self.gain > self.needed


def _gain(result: Result, best: Result, trained: bool) -> _Gain:
    error = float(np.std(np.subtract(result.resampled, best.resampled)))
    least = LEAST_GAIN_OF_TRAINING if trained else LEAST_GAIN
    return _Gain(result.criterion - best.criterion, max(least, DEVIATIONS * error))


def _trial(candidate: _Candidate, chosen: bool) -> Trial:
    result, gain = candidate.result, candidate.gain
    return Trial(
        settings=candidate.text,
        criterion=result.criterion,
        aupro=result.aupro,
        pixel_ap=result.pixel_ap,
        image_auroc=result.image_auroc,
        good_spread=result.spread,
        gain=None if gain is None else gain.gain,
        needed=None if gain is None else gain.needed,
        chosen=chosen,
        seconds=result.training_seconds + result.measuring_seconds,
    )

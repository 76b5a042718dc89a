"""Choosing settings one after the other, each on held-out good images with drawn defects."""

import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyramidflow import __version__
from pyramidflow.data import CACHE_BYTES, Category, open_dataset, split_validation
from pyramidflow.detector import Detector, Session
from pyramidflow.detector.fitting import FitRun, Fitted, compared, decoding_of, fit
from pyramidflow.detector.scoring import Scoring
from pyramidflow.detector.size import image_sizes, resolved
from pyramidflow.detector.trials import Trial
from pyramidflow.errors import ImagesWarning, InputError
from pyramidflow.interrupt import Interrupted, StopRequest
from pyramidflow.io.files import file_digest
from pyramidflow.spec import PLAIN_CONTRAST, Spec, VerdictRule
from pyramidflow.training.contents import encoder_fingerprint
from pyramidflow.tuning.choices import CHOICES, Choice, written
from pyramidflow.tuning.exam import Exam
from pyramidflow.tuning.results import Result, Results

TRAINED, HELD_OUT = 60, 20
"""Images that a short training takes, and that it is examined on, at most."""

HELD_OUT_SHARE = 0.25
"""Of the images, where there are few."""

LEAST_IMAGES = 12
"""To choose settings from."""

EPOCHS_SHARE = 0.25
"""Of the epochs of the whole training, in a short one."""

LEAST_GAIN = 0.005
"""Of the criterion: a smaller one does not pay for a setting that is not the default."""

LEAST_GAIN_OF_TRAINING = 0.02
"""Two trainings differ by chance, which the held-out images do not tell."""

DEVIATIONS = 2.0
"""Standard errors of a gain, over draws of the held-out images, that it has to exceed."""


STOPPED = "stopped while settings were chosen; --resume goes on from what was measured."


class Progress(Protocol):
    """Told how a tuning goes."""

    def begin(self, settings: Sequence[str], training: bool) -> None:
        """Settings are tried, after a training or without one."""

    def note(self, sentence: str) -> None:
        """Something that people want to know."""

    def tried(self, trial: Trial) -> None:
        """What came of them."""


class _Silent:
    def begin(self, settings: Sequence[str], training: bool) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass

    def tried(self, trial: Trial) -> None:
        pass


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
    search = _Search(detector, data, progress or _Silent(), cache_bytes, max_pixels)
    kept = Results(results, search.identity())
    if resume:
        kept.resume()
    wanted = [choice for choice in choices if not set(choice.names) & set(keep)]
    with StopRequest() as stop:
        return search.run(wanted, kept, stop)


@dataclass(frozen=True)
class _Best:
    """The best settings so far, and what came of them."""

    spec: Spec
    result: Result


class _Search:
    def __init__(
        self,
        detector: Detector,
        data: Category,
        progress: Progress,
        cache_bytes: int,
        max_pixels: int | None,
    ) -> None:
        self._progress = progress
        self._how = FitRun(show_progress=False, cache_bytes=cache_bytes, max_pixels=max_pixels)
        recipe = detector.spec.recipe
        images, _ = split_validation(data.train, recipe.validation_share, recipe.seed)
        trained, held_out = _sampled(images, recipe.seed)
        self._data = replace(data, train=tuple(trained), test=())
        decoding = decoding_of(detector.spec, max_pixels)
        rule, masks = detector.spec.rule, detector.masks
        self._exam = Exam(held_out, decoding, recipe.seed, rule, masks)
        self._scoring = Scoring.of(rule, masks)
        self._sizes = image_sizes(images, decoding)
        self._detector = detector
        self._first = resolved(detector.spec, self._sizes)
        self._fitted: dict[Spec, Fitted] = {}
        self._trials: list[Trial] = []

    def identity(self) -> dict[str, Any]:
        """What results depend on.

        Raises:
            InputError: an image cannot be read.
        """
        paths = [*self._data.train, *self._exam.paths]
        return {
            "version": __version__,
            "spec": self._first.as_dict(),
            "scores": self._scoring.as_dict(),
            "encoder weights": encoder_fingerprint(self._detector.model.encoder),
            "images": [[path.name, file_digest(path)] for path in paths],
        }

    def run(self, choices: Sequence[Choice], results: Results, stop: StopRequest) -> Detector:
        """Make the choices."""
        self._results, self._stop = results, stop
        comparing = [choice for choice in choices if not choice.needs_training]
        training = [choice for choice in choices if choice.needs_training]
        self._progress.note(
            f"Settings are chosen on {len(self._exam.paths)} held-out good images and "
            f"{self._exam.defects} copies of them with drawn defects, after short trainings on "
            f"{len(self._data.train)} images."
        )
        self._best = _Best(self._first, self._measured(self._first))
        self._record(_trial((), self._best.result, None, True))
        self._progress.note(_expected(self._best.result, comparing, training))
        self._choose_all(comparing)
        before = _network(self._best.spec)
        self._choose_all(training)
        if _network(self._best.spec) != before:
            self._choose_all(comparing)
        return self._detector.changed(tuple(self._trials), **self._best.spec.as_settings())

    def _choose_all(self, choices: Sequence[Choice]) -> None:
        for choice in choices:
            self._choose(choice)
            kept = _network(self._best.spec)
            self._fitted = {key: value for key, value in self._fitted.items() if key == kept}

    def _choose(self, choice: Choice) -> None:
        best, tried = self._best, []
        for alternative in choice.alternatives:
            spec = self._with(best.spec, alternative)
            if spec is None or spec == best.spec:
                continue
            try:
                result = self._measured(spec)
            except InputError as error:  # such as parts that have no pose in common
                self._progress.note(f"{' '.join(written(alternative))} cannot be tried: {error}")
                continue
            gain = _gain(result, best.result, choice.needs_training)
            tried.append((spec, written(_differences(spec, best.spec)), result, gain))
        gaining = [entry for entry in tried if entry[3].is_enough]
        winner = max(gaining, key=lambda entry: entry[3].gain, default=None)
        for entry in tried:
            _, text, result, gain = entry
            self._record(_trial(text, result, gain, entry is winner))
        if winner is not None:
            self._best = _Best(winner[0], winner[2])

    def _with(self, spec: Spec, settings: Mapping[str, Any]) -> Spec | None:
        """A spec with other settings; ``None`` where they contradict the rest."""
        try:
            changed = spec.changed(**settings)
        except InputError:
            return None
        height, width = self._first.preprocessing.size
        return resolved(changed, self._sizes, math.sqrt(height * width))

    def _measured(self, spec: Spec) -> Result:
        settings = written(_differences(spec, self._first))
        known = self._results.get(settings)
        if known is not None:
            return known
        network = _network(spec)
        needs_training = network not in self._fitted
        self._progress.begin(settings, needs_training)
        started = time.perf_counter()
        if needs_training:
            self._fitted[network] = self._trained(network)
            self._stop_if()
        trained = time.perf_counter()
        fitted = self._fitted[network]
        # A training may have put numbers in place of "auto": they stay.
        resulting = replace(fitted.artifact.spec, contrast=spec.contrast, rule=spec.rule)
        masks = self._detector.masks
        artifact = replace(compared(fitted.artifact, resulting, fitted.images), masks=masks)
        answers = self._exam.taken_by(Session(artifact, self._detector.device), self._stop_if)
        ended = time.perf_counter()
        result = Result.of(settings, answers, trained - started, ended - trained)
        self._results.add(result)
        return result

    def _trained(self, network: Spec) -> Fitted:
        model = self._detector.changed(**network.as_settings()).model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImagesWarning)  # the whole training says it once
            try:
                return fit(model, network, self._data, self._how)
            except Interrupted as stop:
                raise Interrupted(STOPPED) from stop

    def _stop_if(self) -> None:
        if self._stop.requested:
            raise Interrupted(STOPPED)

    def _record(self, trial: Trial) -> None:
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


def _short(spec: Spec) -> Spec:
    """Of a short training on all the images that it is given."""
    epochs = math.ceil(EPOCHS_SHARE * spec.recipe.epochs)
    return spec.with_recipe(epochs=epochs, validation_share=0.0)


def _network(spec: Spec) -> Spec:
    """What a short training depends on: the spec without comparison and verdict."""
    return replace(_short(spec), contrast=PLAIN_CONTRAST, rule=VerdictRule())


def _differences(spec: Spec, other: Spec) -> dict[str, Any]:
    before = other.as_settings()
    return {name: value for name, value in spec.as_settings().items() if value != before[name]}


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


def _trial(settings: Sequence[str], result: Result, gain: _Gain | None, chosen: bool) -> Trial:
    return Trial(
        settings=tuple(settings),
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


def _sampled(images: Sequence[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Images for short trainings, and others to examine them on."""
    if len(images) < LEAST_IMAGES:
        raise InputError(
            f"{len(images)} good images are there to choose settings from: at least "
            f"{LEAST_IMAGES} are expected; add some, or leave tuning out."
        )
    order = np.random.default_rng((seed, HELD_OUT)).permutation(len(images))
    count = min(HELD_OUT, max(4, round(HELD_OUT_SHARE * len(images))))
    held_out, trained = order[:count], order[count : count + TRAINED]
    return [images[i] for i in sorted(trained)], [images[i] for i in sorted(held_out)]

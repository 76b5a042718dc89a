"""What settings give: a short training on some good images, an exam on others."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyramidflow import __version__
from pyramidflow.data import Category, split_validation
from pyramidflow.detector import Detector, Session
from pyramidflow.detector.fitting import FitRun, Fitted, compared, decoding_of, fit
from pyramidflow.detector.scoring import Scoring
from pyramidflow.detector.size import image_sizes, resolved
from pyramidflow.errors import ImagesWarning, InputError
from pyramidflow.interrupt import Interrupted
from pyramidflow.io.files import file_digest
from pyramidflow.spec import PLAIN_CONTRAST, ImageSize, Spec, VerdictRule
from pyramidflow.training.contents import encoder_fingerprint
from pyramidflow.tuning.choices import written
from pyramidflow.tuning.exam import Exam
from pyramidflow.tuning.progress import Progress
from pyramidflow.tuning.results import Result, Results

TRAINED, HELD_OUT = 60, 20
"""Images that a short training takes, and that it is examined on, at most."""

HELD_OUT_SHARE = 0.25
"""Of the images, where there are few."""

LEAST_IMAGES = 12
"""To choose settings from."""

EPOCHS_SHARE = 0.25
"""Of the epochs of the whole training, in a short one."""

STOPPED = "stopped while settings were chosen; --resume goes on from what was measured."


@dataclass(frozen=True)
class Subject:
    """What is tuned, and the images that it is tuned on.

    Attributes:
        detector: untrained.
        first: its settings, with sizes in place of ``auto``.
        data: the images that are trained on.
        exam: on the images that are held out.
        sizes: of all of them, by which the working size is chosen.
    """

    detector: Detector
    first: Spec
    data: Category
    exam: Exam
    sizes: Sequence[ImageSize]

    @classmethod
    def of(cls, detector: Detector, data: Category, max_pixels: int | None) -> "Subject":
        """A detector, and some of a data set's images.

        Raises:
            InputError: there are too few, or one of them cannot be read.
        """
        recipe, rule, masks = detector.spec.recipe, detector.spec.rule, detector.masks
        images, _ = split_validation(data.train, recipe.validation_share, recipe.seed)
        trained, held_out = _sampled(images, recipe.seed)
        decoding = decoding_of(detector.spec, max_pixels)
        exam = Exam(held_out, decoding, recipe.seed, rule, masks)
        sizes = image_sizes(images, decoding)
        first = resolved(detector.spec, sizes)
        return cls(detector, first, replace(data, train=tuple(trained), test=()), exam, sizes)

    def identity(self) -> dict[str, Any]:
        """What results depend on.

        Raises:
            InputError: an image cannot be read.
        """
        scoring = Scoring.of(self.detector.spec.rule, self.detector.masks)
        paths = [*self.data.train, *self.exam.paths]
        return {
            "version": __version__,
            "spec": self.first.as_dict(),
            "scores": scoring.as_dict(),
            "encoder weights": encoder_fingerprint(self.detector.model.encoder),
            "images": [[path.name, file_digest(path)] for path in paths],
        }

    def changed(self, spec: Spec, settings: Mapping[str, Any]) -> Spec | None:
        """A spec with other settings; ``None`` where they contradict the rest."""
        try:
            changed = spec.changed(**settings)
        except InputError:
            return None
        height, width = self.first.preprocessing.size
        return resolved(changed, self.sizes, math.sqrt(height * width))


class Measurer:
    """Trains shortly and examines; nothing is trained or examined twice.

    Args:
        subject: what is tuned.
        how: a short training runs.
        results: that are known, and kept.
        stop_if: raises where a stop is requested.
        progress: told what begins.
    """

    def __init__(
        self,
        subject: Subject,
        how: FitRun,
        results: Results,
        stop_if: Callable[[], None],
        progress: Progress,
    ) -> None:
        self._subject, self._how, self._results = subject, how, results
        self._stop_if, self._progress = stop_if, progress
        self._fitted: dict[Spec, Fitted] = {}

    def measure(self, spec: Spec) -> Result:
        """What settings give.

        Raises:
            InputError: they cannot be trained with, such as parts that have no pose in common.
            Interrupted: a stop was requested.
        """
        settings = written(differences(spec, self._subject.first))
        known = self._results.get(settings)
        if known is not None:
            return known
        network = network_of(spec)
        needs_training = network not in self._fitted
        self._progress.begin(settings, needs_training)
        started = time.perf_counter()
        if needs_training:
            self._fitted[network] = self._trained(network)
            self._stop_if()
        trained = time.perf_counter()
        answers = self._subject.exam.taken_by(self._session(spec), self._stop_if)
        ended = time.perf_counter()
        result = Result.of(settings, answers, trained - started, ended - trained)
        self._results.add(result)
        return result

    def forget_all_but(self, spec: Spec) -> None:
        """Free the trained networks of other settings."""
        kept = network_of(spec)
        self._fitted = {key: value for key, value in self._fitted.items() if key == kept}

    def _trained(self, network: Spec) -> Fitted:
        model = self._subject.detector.changed(**network.as_settings()).model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImagesWarning)  # the whole training says it once
            try:
                return fit(model, network, self._subject.data, self._how)
            except Interrupted as stop:
                raise Interrupted(STOPPED) from stop

    def _session(self, spec: Spec) -> Session:
        fitted, detector = self._fitted[network_of(spec)], self._subject.detector
        # A training may have put numbers in place of "auto": they stay.
        resulting = replace(fitted.artifact.spec, contrast=spec.contrast, rule=spec.rule)
        artifact = compared(fitted.artifact, resulting, fitted.images)
        return Session(replace(artifact, masks=detector.masks), detector.device)


def network_of(spec: Spec) -> Spec:
    """What a short training depends on: the spec without comparison and verdict."""
    epochs = math.ceil(EPOCHS_SHARE * spec.recipe.epochs)
    short = spec.with_recipe(epochs=epochs, validation_share=0.0)
    return replace(short, contrast=PLAIN_CONTRAST, rule=VerdictRule())


def differences(spec: Spec, other: Spec) -> dict[str, Any]:
    """The settings of a spec that another one has otherwise."""
    before = other.as_settings()
    return {name: value for name, value in spec.as_settings().items() if value != before[name]}


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

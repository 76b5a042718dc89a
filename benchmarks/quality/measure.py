"""What the benchmarks of quality do alike: a part of a data set, a training, a measurement."""

import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.process import peak_memory
from pyramidflow import Detector
from pyramidflow.data import Category
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.fitting import FitRun, Fitted, compared, fit
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.spec import ContrastRule, Spec, VerdictRule, names

COLUMNS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO@0.3": "aupro@0.3",
    "AUPRO@1.0": "aupro@1.0",
    "pixel AP": "pixel_ap",
    "image AUROC": "image_auroc",
}

COMPARED = {f.name for rule in (ContrastRule, VerdictRule) for f in fields(rule)}
"""Settings that need no other training."""


@dataclass(frozen=True)
class Trained:
    """A trained network with the images that it was trained on.

    Attributes:
        fitted: the training's result.
        seconds: that the training took.
    """

    fitted: Fitted
    seconds: float

    @property
    def spec(self) -> Spec:
        """With which it was trained."""
        return self.fitted.artifact.spec

    def artifact(self, settings: dict[str, Any]) -> Artifact:
        """The same network, comparing in another way."""
        spec = self.spec.changed(**settings)
        return compared(self.fitted.artifact, spec, self.fitted.images)


def detector_of(artifact: Artifact) -> Detector:
    """The detector; its threshold means nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "part.safetensors"
        artifact.write(file)
        found = Detector.load(file, device=next(artifact.network.parameters()).device)
    found.threshold = 1.0
    return found


def sampled(data: Category, images: int, good: int, defects: int) -> Category:
    """The same random part of a data set on every run: of its training images and of its tests."""

    def some(items: Sequence[Any], count: int) -> tuple[Any, ...]:
        order = np.random.default_rng(0).permutation(len(items))[:count]
        return tuple(items[index] for index in sorted(order))

    defective = [sample for sample in data.test if sample.is_defective]
    fine = [sample for sample in data.test if not sample.is_defective]
    tests = (*some(fine, good), *some(defective, defects))
    return replace(data, train=some(data.train, images), test=tests)


def trained(data: Category, settings: dict[str, Any], device: str) -> Trained:
    """Train a network on all the training images."""
    spec = Spec.of({"validation_share": 0.0, **settings})
    start = time.perf_counter()
    fitted = fit(Detector(spec=spec, device=device).model, spec, data, FitRun(show_progress=False))
    seconds = time.perf_counter() - start
    return Trained(fitted, seconds)


def measured(data: Category, subject: Trained, settings: dict[str, Any]) -> dict[str, Any]:
    """Metrics, times and memory of one comparison."""
    found = evaluate(detector_of(subject.artifact(settings)), data)
    return {
        "seed": subject.spec.recipe.seed,
        **found.metrics.as_dict(),
        "failures": len(found.failures),
        "training_seconds": subject.seconds,
        "milliseconds": 1e3 * found.seconds / len(found.outcomes),
        "peak_megabytes": peak_memory(),
    }


def parsed(given: Sequence[str]) -> dict[str, Any]:
    """Settings from ``NAME=VALUE``, as the spec's types have them."""
    known, found = names(), {}
    for setting in given:
        name, _, value = setting.partition("=")
        if name not in known:
            raise InputError(f"{setting!r} names no setting: choose from {', '.join(known)}.")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def test_images(data: Category) -> str:
    """How many test images there are, and how many of them are defective."""
    return f"{len(data.test)} ({sum(sample.is_defective for sample in data.test)} defective)"


def add_images(parser: ArgumentParser) -> None:
    """Which part of a data set is learned from and measured on, and on what device."""
    parser.add_argument("data", type=Path, help="data set with test images")
    parser.add_argument("--category", help="where the data set has several")
    parser.add_argument("--images", type=int, default=60, help="to train on")
    parser.add_argument("--good", type=int, default=60, help="good test images, at most")
    parser.add_argument("--defects", type=int, default=100, help="defective ones, at most")
    parser.add_argument("--device", default="cpu")


def add_options(parser: ArgumentParser, epochs: int) -> None:
    """What is trained on which part of a data set, and compared how.

    Args:
        parser: takes the options.
        epochs: default.
    """
    add_images(parser)
    parser.add_argument("--epochs", type=int, default=epochs, help="unless --train says epochs=N")
    settings: dict[str, Any] = {"nargs": "+", "action": "append", "metavar": "NAME=VALUE"}
    parser.add_argument("--train", **settings, help="settings of a training; may be repeated")
    parser.add_argument(
        "--set", **settings, default=[], help="settings of a comparison; may be repeated"
    )

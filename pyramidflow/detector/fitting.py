"""From good images to a trained detector."""

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from pyramidflow.alignment import Reference
from pyramidflow.data import (
    CACHE_BYTES,
    Category,
    Decoding,
    ImageSet,
    Pixels,
    Reading,
    check_trainable,
    network_input,
    read_image,
    split_validation,
)
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.brightness import with_brightness
from pyramidflow.detector.calibration import Origin
from pyramidflow.detector.counted_area import CountedArea
from pyramidflow.detector.pose_statistics import PoseStatistics, pose_statistics
from pyramidflow.detector.record import TrainingRecord
from pyramidflow.detector.size import image_sizes, resolved, too_small
from pyramidflow.detector.trainingset import TrainingImages, ratio_of, training_images
from pyramidflow.errors import ImagesWarning
from pyramidflow.io.names import printable
from pyramidflow.model import PyramidFlow
from pyramidflow.spec import ImageSize, Spec
from pyramidflow.training import OneProcess, Run, Task, TrainingResult, train
from pyramidflow.training.statistics import normal_of

DECIDING_PACKAGES = ("numpy", "pillow", "tifffile", "imagecodecs")
"""That decode images; another version may give other pixels."""


@dataclass(frozen=True)
class FitRun(Run):
    """How a training runs and how its images are read; nothing of it changes the result.

    Attributes:
        cache_bytes: memory for decoded images.
        max_pixels: pixels of the largest picture that is decoded; ``None`` is the package's own.
    """

    cache_bytes: int = CACHE_BYTES
    max_pixels: int | None = None


@dataclass(frozen=True)
class Fitted:
    """A training's result, and the good images to set the threshold with.

    Attributes:
        artifact: without calibration.
        images: that were trained on.
        good: held-out images, or the training's own where none was held out.
        origin: which of the two.
    """

    artifact: Artifact
    images: ImageSet
    good: ImageSet
    origin: Origin

    def good_pixels(self, run: FitRun) -> Iterator[Pixels]:
        """The images to calibrate on, at the size that the network works at.

        Where the verdict depends on their own size, they are read anew. Of several processes each
        has its own.

        Args:
            run: of the training.
        """
        spec, parallel = self.artifact.spec, run.parallel or OneProcess()
        decoding = decoding_of(spec, run.max_pixels)
        for index in range(parallel.rank, len(self.good), parallel.world):
            if spec.rule.depends_on_size:
                yield read_image(self.good.paths[index], decoding)
            else:
                yield self.good[index]


def fit(
    network: PyramidFlow, spec: Spec, data: Category, run: FitRun, masks: Sequence[Tensor] = ()
) -> Fitted:
    """Train a copy of a network and take its template.

    Args:
        network: stays as it is, whatever happens.
        spec: every setting.
        data: good images to train from. Test images are never looked at.
        run: how.
        masks: of the verdict's mask pictures.

    Raises:
        InputError: images or checkpoint cannot be used, or nothing counts for the verdict.
        Interrupted: a stop was requested; the checkpoint is written.
    """
    check_trainable(data.train)
    training, held_out = split_validation(
        data.train, spec.recipe.validation_share, spec.recipe.seed
    )
    decoding = decoding_of(spec, run.max_pixels)
    sizes = image_sizes(training, decoding)
    spec = resolved(spec, sizes)
    _warn(too_small(spec.preprocessing, sizes))
    # Before hours of training, not behind them.
    _check_something_counts(spec, masks, network, sizes)
    reading = Reading(spec.preprocessing.size, decoding, run.cache_bytes)
    prepared = training_images(spec, training, held_out, reading, sizes)
    images, others = prepared.images, prepared.held_out
    spec = with_brightness(spec, images)
    _warn(_left_out(prepared.unplaced, data.root))
    trained = copy.deepcopy(network)
    task = Task(trained, spec.preprocessing, images, others, spec.recipe, spec.contrast)
    result = train(task, run)
    _warn(images.looks_dark())
    lying = images if prepared.reference is None else reading.images(images.paths)
    found = pose_statistics(lying, ratio_of(sizes), trained.eval(), spec, prepared.reference)
    record = _record(data, prepared, result, found)
    artifact = _artifact(spec, trained.eval(), result, record, prepared.reference, masks)
    good, origin = _to_calibrate_on(prepared, reading, {s.index for s in result.normal.suspects})
    return Fitted(artifact, images, good, origin)


def _check_something_counts(
    spec: Spec, masks: Sequence[Tensor], network: PyramidFlow, sizes: Sequence[ImageSize]
) -> None:
    area = CountedArea(spec.rule, masks, network.feature_size(*spec.preprocessing.size))
    for size in sizes:
        area.of(size)


def _artifact(
    spec: Spec,
    trained: PyramidFlow,
    result: TrainingResult,
    record: TrainingRecord,
    reference: Reference | None,
    masks: Sequence[Tensor],
) -> Artifact:
    return Artifact(
        spec,
        trained,
        result.normal.template,
        training=record,
        history=result.history,
        inverse_spread=result.normal.inverse_spread,
        codebook=result.normal.codebook,
        reference=reference,
        masks=tuple(masks),
    )


def _record(
    data: Category, prepared: TrainingImages, result: TrainingResult, found: PoseStatistics | None
) -> TrainingRecord:
    images = prepared.images
    last, suspects = result.history[-1], result.normal.suspects
    return TrainingRecord(
        category=data.name,
        layout=data.layout,
        images=len(images),
        held_out=len(prepared.held_out),
        loss=last["loss"],
        held_out_loss=last["validation_loss"],
        epochs=last["epoch"],
        seconds=result.seconds,
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        torch=torch.__version__,
        packages=tuple(f"{name} {version(name)}" for name in DECIDING_PACKAGES),
        contents=result.contents,
        suspects=tuple(_name(images.paths[s.index], data.root) for s in suspects),
        suspect_scores=tuple(s.score for s in suspects),
        unplaced=tuple(_name(path, data.root) for path in prepared.unplaced),
        **({} if found is None else asdict(found)),
    )


def _to_calibrate_on(
    prepared: TrainingImages, reading: Reading, left_out: set[int]
) -> tuple[ImageSet, Origin]:
    """Good images as the line sees them, which aligns them itself."""
    images, others = prepared.images, prepared.held_out
    if len(others):
        return others if prepared.reference is None else reading.images(others.paths), "held-out"
    kept = [path for index, path in enumerate(images.paths) if index not in left_out]
    is_as_read = prepared.reference is None and not left_out
    return images if is_as_read else reading.images(kept), "training"


def _left_out(unplaced: Sequence[Path], root: Path) -> str | None:
    if not unplaced:
        return None
    return (
        f"{len(unplaced)} of the good images show no part in a pose that fits the others, the "
        f"first is {_name(unplaced[0], root)}: they are left out; look at them."
    )


def compared(artifact: Artifact, spec: Spec, images: ImageSet) -> Artifact:
    """The same trained network, with what is normal taken anew as another spec compares.

    Args:
        artifact: a training's result.
        spec: the artifact's, but for contrast and verdict.
        images: that were trained on.
    """
    network = artifact.network
    device = next(network.parameters()).device
    map_size = network.feature_size(*spec.preprocessing.size)

    def latents_of(index: int) -> tuple[Tensor, ...]:
        pixels = network_input([images[index]], spec.preprocessing, device)
        latents: tuple[Tensor, ...] = network(pixels)
        return latents

    def seen_of(index: int) -> Tensor | None:
        seen = images.seen(index, map_size)
        return None if seen is None else torch.from_numpy(seen)

    has_template = "template" not in spec.recipe.without
    normal = normal_of(network, latents_of, len(images), spec.contrast, has_template, seen_of)
    return replace(
        artifact,
        spec=spec,
        template=normal.template,
        inverse_spread=normal.inverse_spread,
        codebook=normal.codebook,
        calibration=None,
    )


def _name(path: Path, root: Path) -> str:
    return printable(os.path.relpath(path, root))


def _warn(sentence: str | None) -> None:
    if sentence is not None:
        warnings.warn(sentence, ImagesWarning, stacklevel=4)


def decoding_of(spec: Spec, max_pixels: int | None) -> Decoding:
    """How a detector's image files are read."""
    white_level = spec.preprocessing.white_level
    if max_pixels is None:
        return Decoding(white_level)
    return Decoding(white_level, max_pixels)

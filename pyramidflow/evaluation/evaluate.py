"""Evaluating a detector on a category's test images."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramidflow.data import Category, read_image, read_mask
from pyramidflow.detector import Detector
from pyramidflow.errors import InputError
from pyramidflow.evaluation.metrics import Metrics, evaluate_maps


@dataclass(frozen=True)
class Evaluation:
    """What a detector did on a category's test images.

    Maps and masks have the size that the detector works at, so that they compare with published
    numbers; masks are resized to it by nearest neighbour.

    Attributes:
        category: the category's name.
        metrics: threshold-free metrics.
        threshold: the detector's.
        image_size: side of maps and masks, in pixels.
        paths: the test images, ``N``.
        kinds: ``"good"`` or the kind of defect, ``N``.
        labels: ``True`` for a defective image, ``[N]``.
        scores: ``[N]``.
        maps: float32 ``[N, image_size, image_size]``.
        masks: bool ``[image_size, image_size]`` each; ``None`` where a defective image has no mask.
        seconds: time to read and inspect the images.
        training: the detector's training record.
    """

    category: str
    metrics: Metrics
    threshold: float
    image_size: int
    paths: tuple[Path, ...]
    kinds: tuple[str, ...]
    labels: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]
    masks: tuple[npt.NDArray[np.bool_] | None, ...]
    seconds: float
    training: dict[str, Any]

    @property
    def false_reject_rate(self) -> float:
        """Share of the good images above the threshold; NaN without good images."""
        return _share(self.scores[~self.labels] > self.threshold)

    @property
    def detection_rate(self) -> float:
        """Share of the defective images above the threshold; NaN without defective images."""
        return _share(self.scores[self.labels] > self.threshold)


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else float("nan")


def evaluate(
    detector: Detector,
    category: Category,
    on_image: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Inspect the test images of a category and compute the metrics.

    Args:
        detector: trained and calibrated.
        category: its test images and their ground truth.
        on_image: called after each image.

    Returns:
        Metrics with the evidence behind them.

    Raises:
        InputError: no test images, an unreadable image, a mask that does not fit, or a detector
            without threshold.
    """
    if not category.test:
        raise InputError(
            f"{category.root} has no test images: an evaluation needs test/good and test/DEFECT "
            "beside train (MVTec AD layout), or one of the other layouts with test images."
        )
    if detector.threshold is None:
        raise InputError("this detector has no threshold yet: calibrate it on good images.")
    size = detector.preprocessing.image_size
    maps: list[npt.NDArray[np.float32]] = []
    masks: list[npt.NDArray[np.bool_] | None] = []
    scores: list[float] = []
    started = time.perf_counter()
    for sample in category.test:
        image = read_image(sample.path)
        score, anomaly_map = detector.working_map(image)
        scores.append(score)
        maps.append(anomaly_map)
        mask = None if sample.mask_path is None else read_mask(sample.mask_path, image.shape[:2])
        if mask is not None:
            masks.append(_resize_mask(mask, size))
        else:
            masks.append(None if sample.is_defective else np.zeros((size, size), dtype=bool))
        on_image()
    seconds = time.perf_counter() - started
    labels = np.array([sample.is_defective for sample in category.test])
    stacked, image_scores = np.stack(maps), np.array(scores)
    has_masks = any(sample.mask_path is not None for sample in category.test)
    return Evaluation(
        category=category.name,
        metrics=evaluate_maps(stacked, masks if has_masks else None, image_scores, labels),
        threshold=detector.threshold,
        image_size=size,
        paths=tuple(sample.path for sample in category.test),
        kinds=tuple(sample.kind for sample in category.test),
        labels=labels,
        scores=image_scores,
        maps=stacked,
        masks=tuple(masks),
        seconds=seconds,
        training=detector.training,
    )


def _resize_mask(mask: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.bool_]:
    rows = (np.arange(size) + 0.5) * mask.shape[0] / size
    columns = (np.arange(size) + 0.5) * mask.shape[1] / size
    resized: npt.NDArray[np.bool_] = mask[np.ix_(rows.astype(int), columns.astype(int))]
    return resized

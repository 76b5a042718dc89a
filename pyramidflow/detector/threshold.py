"""The threshold of a detector, from good images."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from pyramidflow.data import Pixels, content_digest, list_images, resize_image
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.calibration import Calibration, Origin, conformal_calibration
from pyramidflow.detector.session import Session
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.training import OneProcess, Parallel


def good_images_in(folder: Path) -> list[Path]:
    """The images of a folder to calibrate on.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    found = list_images(folder)
    if not found:
        raise InputError(f"there are no images in {folder}: give a folder of good images.")
    return found


def calibrated_on(
    artifact: Artifact,
    session: Session,
    good: Iterable[Pixels],
    rate: float,
    origin: Origin,
    review_rate: float | None = None,
    parallel: Parallel | None = None,
) -> Calibration:
    """The calibration that good images give.

    Args:
        artifact: the trained detector.
        session: of it.
        good: decoded images ``[H, W, 3]``. Those of parts without a pose are left out: they are
            for review, whatever they score.
        rate: share of good parts that may be rejected.
        origin: of the images.
        review_rate: share of good parts that may be for review or rejected.
        parallel: the processes that inspect the images, each its own; ``None`` is this one alone.

    Raises:
        InputError: no images, a score that is not finite, a rate outside (0, 1), or a review rate
            that is not above that of rejects.

    Warns:
        CalibrationWarning: some of the images were trained on, or show parts without a pose.
    """
    found = _united(_scored(artifact, session, good), parallel or OneProcess())
    scores = found.scores
    if found.unplaced:
        warnings.warn(
            f"{found.unplaced} of the {len(scores) + found.unplaced} images to calibrate on show a "
            "part that has no pose and is for review: they are left out of the threshold; look at "
            "them.",
            CalibrationWarning,
            stacklevel=3,
        )
    calibration = conformal_calibration(
        scores,
        rate,
        source=origin,
        conditions=session.conditions,
        trained_on=found.known,
        target_review_rate=review_rate,
    )
    if found.known:
        warnings.warn(
            f"{found.known} of the {len(scores)} images to calibrate on were trained on, so the "
            "threshold is too low: calibrate on other good images before relying on it.",
            CalibrationWarning,
            stacklevel=3,
        )
    return replace(calibration, scored_by=session.scoring)


class _Scored(NamedTuple):
    """Scores of good images; how many of them were trained on, and how many more have no pose."""

    scores: list[float]
    known: int
    unplaced: int


def _scored(artifact: Artifact, session: Session, good: Iterable[Pixels]) -> _Scored:
    contents = frozenset(() if artifact.training is None else artifact.training.contents)
    size = artifact.spec.preprocessing.size
    scores, known, unplaced = [], 0, 0
    for pixels in good:
        resized = resize_image(pixels, size)
        depends = artifact.spec.rule.depends_on_size
        [found] = session.working_maps([pixels if depends else resized])
        if not found.is_placed:
            unplaced += 1
            continue
        known += content_digest(resized) in contents
        scores.append(found.score)
    return _Scored(scores, known, unplaced)


def _united(own: _Scored, parallel: Parallel) -> _Scored:
    """What all processes found, from what each did; scores come process by process."""
    counts = torch.tensor([own.known, own.unplaced])
    scores = torch.tensor(own.scores, dtype=torch.float64)
    found = parallel.united({"counts": counts, f"scores/{parallel.rank}": scores})
    known, unplaced = found.pop("counts").tolist()
    return _Scored(torch.cat(list(found.values())).tolist(), known, unplaced)

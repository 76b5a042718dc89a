"""From an evaluation to its report: curves, and the examples worth a look."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pyramidflow.data import read_image, read_mask, resize_image, to_uint8
from pyramidflow.detector import Detector, Session
from pyramidflow.detector.overlay import Marks, overlay
from pyramidflow.errors import InputError
from pyramidflow.evaluation import Evaluation, Outcome, reduce_mask, remarks, roc_curve
from pyramidflow.evaluation.report.contents import (
    Curve,
    Curves,
    MeasuredImages,
    Report,
    ReportExample,
    rate_text,
)
from pyramidflow.evaluation.report.page import write_report

EXAMPLES = 4
"""Examples in each of the report's two sections."""


def write_evaluation_report(
    detector: Detector, evaluation: Evaluation, summary: Sequence[tuple[str, str]], path: Path
) -> None:
    """Write the report of an evaluation as one HTML file.

    The worst examples are those furthest on the wrong side of the threshold (or nearest to it on
    the right side), the best are the defects furthest above it. They are inspected once more; one
    that cannot be read any longer makes room for the next.

    Args:
        detector: the one that was evaluated.
        evaluation: what it did.
        summary: facts to show first, as (name, value).
        path: the file.

    Raises:
        InputError: the file cannot be written.
    """
    margin = evaluation.scores - evaluation.threshold
    margin = np.where(evaluation.labels, margin, -margin)  # [N], negative where misjudged
    order = np.argsort(margin, kind="stable")
    measured = evaluation.measured
    session = detector.session
    examples = _Examples(session, evaluation)
    worst = list(islice(examples.of(measured[i] for i in order), EXAMPLES))
    best = [measured[i] for i in order[::-1] if evaluation.labels[i]]
    curves = Curves(
        _defined(roc_curve(evaluation.scores, evaluation.labels)),
        evaluation.pixel_roc,
        evaluation.pro,
    )
    images = MeasuredImages(
        evaluation.scores, evaluation.labels, evaluation.kinds, evaluation.for_review
    )
    report = Report(
        title=f"Evaluation of {evaluation.category}",
        summary=summary,
        metrics=evaluation.metrics.as_dict(),
        curves=curves,
        images=images,
        threshold=evaluation.threshold,
        scale=session.map_scale,
        best=list(islice(examples.of(best), EXAMPLES)),
        worst=worst,
        rates=_rates(evaluation),
        remarks=remarks(evaluation),
        failures=[(str(o.path), o.error) for o in evaluation.failures if o.error is not None],
    )
    write_report(report, path)


def _rates(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    within = "in brackets what further images may show, with 95% confidence."
    rejects, escapes = str(evaluation.false_rejects), str(evaluation.escapes)
    review = (
        "Good images for review",
        f"Good images that are neither ok nor ng, for a person to decide; {within}",
        str(evaluation.good_reviews),
    )
    return [
        (
            "Pixel F1, at the threshold",
            "Overlap of what is above the pixel threshold with the ground truth.",
            rate_text(evaluation.pixel_f1),
        ),
        (
            "False rejects",
            f"Good images that are ng; {within}",
            rejects,
        ),
        *([review] if evaluation.reviews else []),
        ("Escapes", f"Defects that are ok; {within}", escapes),
    ]


def _defined(curve: Curve) -> Curve | None:
    return curve if curve[0].size else None


class _Examples:
    """Examples of an evaluation, none shown twice."""

    def __init__(self, session: Session, evaluation: Evaluation) -> None:
        self._session = session
        self._evaluation = evaluation
        self._shown: set[Path] = set()

    def of(self, outcomes: Iterable[Outcome]) -> Iterator[ReportExample]:
        for outcome in outcomes:
            if outcome.path in self._shown:
                continue
            try:
                example = self._example(outcome)
            except (InputError, OSError):
                continue
            self._shown.add(outcome.path)
            yield example

    def _example(self, outcome: Outcome) -> ReportExample:
        size, threshold = self._evaluation.image_size, self._session.pixel_threshold
        sample, score = outcome.sample, outcome.score
        assert score is not None
        pixels = read_image(outcome.path, self._session.decoding)
        mask = None
        if sample.mask_path is not None and outcome.error is None:
            mask = reduce_mask(
                read_mask(sample.mask_path, pixels.shape[:2], self._session.decoding), size
            ).mask
        elif not sample.is_defective:
            mask = np.zeros(size, dtype=bool)
        [found] = self._session.working_maps([pixels])
        anomaly_map = self._session.resized(found)
        image = resize_image(to_uint8(pixels), size)
        marks = Marks(threshold, counted=found.counted)
        return ReportExample(
            name=f"{outcome.path.parent.name}/{outcome.path.name}",
            kind=sample.kind,
            label_defective=sample.is_defective,
            score=score,
            verdict=outcome.verdict or "",
            image=image,
            overlay=overlay(image, anomaly_map, self._session.map_scale, marks),
            mask=mask,
        )

"""What came of each test image, as JSON lines."""

from pathlib import Path
from typing import Any

from pyramidflow.evaluation.evaluate import Evaluation, Outcome
from pyramidflow.io.files import write_atomically
from pyramidflow.io.lines import json_line
from pyramidflow.io.names import printable


def write_scores(evaluation: Evaluation, path: Path) -> None:
    """Write a JSONL line for each test image, atomically.

    A line holds the image's path, kind and label, then score, thresholds and verdict where it was
    measured, and an error where the image or its mask could not be used. Bytes of a path that are
    no UTF-8 are written as JSON's escapes of lone surrogates, which :func:`os.fsencode` turns back.

    Args:
        evaluation: what to write.
        path: the file.

    Raises:
        InputError: the file cannot be written.
    """
    limits = (evaluation.threshold, evaluation.review_threshold)
    lines = [json_line(_record(each, *limits)) for each in evaluation.outcomes]
    write_atomically(path, lambda file: file.writelines(lines))


def _record(outcome: Outcome, threshold: float, review_threshold: float | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "path": str(outcome.path),
        "kind": outcome.sample.kind,
        "defective": outcome.sample.is_defective,
    }
    if outcome.score is not None:
        record["score"] = outcome.score
        record["threshold"] = threshold
        record["review_threshold"] = review_threshold
        record["verdict"] = outcome.verdict
    if outcome.error is not None:
        record["error"] = printable(outcome.error)
    return record

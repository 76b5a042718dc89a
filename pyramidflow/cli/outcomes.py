"""What commands that inspect many images print of each, and in the end."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from pyramidflow.cli.exit_codes import EXIT_DEFECTS_FOUND, EXIT_INPUT_ERROR, EXIT_INTERRUPTED
from pyramidflow.io.names import printable

if TYPE_CHECKING:
    from pyramidflow.detector import Session
    from pyramidflow.line import Tally


class Limits(NamedTuple):
    """What the verdicts were given by.

    Attributes:
        threshold: largest score that is not ng.
        review_threshold: largest score that is ok; ``None`` where there is but one threshold.
        has_review: whether a part could be for review.
    """

    threshold: float | None
    review_threshold: float | None
    has_review: bool

    @classmethod
    def of(cls, session: "Session") -> "Limits":
        """Those of a session."""
        has_review = session.review_threshold is not None or session.spec.alignment.align != "none"
        return cls(session.threshold, session.review_threshold, has_review)


def show_verdict(verdict: str | None, score: float | None, origin: str) -> None:
    """Print the line of an inspected image."""
    typer.echo(f"{verdict}  {score:.6g}  {printable(origin)}")


def show_error(sentence: object) -> None:
    """Print the line of an image that something is wrong with, on standard error."""
    typer.echo(f"error: {printable(sentence)}", err=True)


def summary(tally: "Tally", limits: Limits, results: Path, how_to_go_on: str) -> list[str]:
    """The last lines: counts, thresholds, where the results are, and times.

    Args:
        tally: of the images.
        limits: that they were judged by.
        results: where the records are.
        how_to_go_on: after a stop.
    """
    review = f"{tally.review} review, " if limits.has_review else ""
    lower = limits.review_threshold
    limit = "" if lower is None else f"review above {lower:.6g}, "
    lines = [
        f"{tally.ok} ok, {tally.ng} ng, {review}{tally.errors} errors; "
        f"{limit}threshold {limits.threshold:.6g}; "
        f"results in {printable(results)}"
    ]
    if tally.stopped:
        lines.append(f"stopped before the last image: {how_to_go_on}")
    times = tally.percentiles()
    if times:
        lines.append(f"{'ms':<12}{'p50':>10}{'p99':>10}")
        lines += [f"{stage:<12}{median:>10.2f}{most:>10.2f}" for stage, median, most in times]
    return lines


def exit_by(tally: "Tally", fail_on_defect: bool) -> None:
    """End the program by what came of the images.

    Args:
        tally: of the images.
        fail_on_defect: whether a part that is not ok makes a difference.

    Raises:
        typer.Exit: it was stopped, an image had an error, or a part is not ok.
    """
    if tally.stopped:
        raise typer.Exit(EXIT_INTERRUPTED)
    if tally.errors:
        raise typer.Exit(EXIT_INPUT_ERROR)
    if fail_on_defect and (tally.ng or tally.review):
        raise typer.Exit(EXIT_DEFECTS_FOUND)

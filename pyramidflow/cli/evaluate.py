"""``pyramidflow evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR
from pyramidflow.cli.groups import InspectionOptions, with_groups
from pyramidflow.cli.options import ReportFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyramidflow.detector import Detector
    from pyramidflow.evaluation import Evaluation, FailedJob, Job
    from pyramidflow.evaluation.tables import Row

TABLE = "metrics.csv"
REPORT = "report.html"


@with_groups
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Data set in MVTec AD, BTAD or VisA layout.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            help="Detector file, or a folder of them, one for each category.",
            show_default=False,
        ),
    ],
    output: ReportFolder,
    how: InspectionOptions,
    category: Annotated[
        str | None,
        typer.Option(
            help="Category of the data set.", show_default="the one that a detector was trained on"
        ),
    ] = None,
) -> None:
    """Measure detectors on the test images of their categories.

    Writes metrics.csv and metrics.md (a row for each category and their mean), and for each
    category an HTML report and scores.jsonl. Several detectors of one category get a folder each,
    called as their files, and no mean. What cannot be used is left out and named; the exit code is
    then 2.
    """
    from contextlib import ExitStack

    from pyramidflow.evaluation import find_detectors, plan_jobs
    from pyramidflow.io.files import exclusive

    with ExitStack() as places:
        places.enter_context(exclusive(output / TABLE))
        jobs, failed = plan_jobs(find_detectors(model), data, category)
        for job in jobs:
            places.enter_context(exclusive(output / job.name / REPORT))
        evaluations = _measure_all(jobs, failed, output, how)
        _write_tables(evaluations, failed, output)
    _print_results(evaluations, failed, output)
    _print_earlier_reports(jobs, failed, output)
    if failed or any(evaluation.failures for evaluation in evaluations):
        raise typer.Exit(EXIT_INPUT_ERROR)


def _measure_all(
    jobs: "Sequence[Job]",
    failed: "list[FailedJob]",
    output: Path,
    how: InspectionOptions,
) -> "list[Evaluation]":
    """Measure one job after the other and write what it gives; those that fail join ``failed``."""
    from pyramidflow.errors import InputError
    from pyramidflow.evaluation import UNUSABLE, FailedJob, reason_of

    evaluations: list[Evaluation] = []
    for job in jobs:
        try:
            detector, evaluation = _measure(job, how)
        except UNUSABLE as error:
            failed.append(FailedJob(job.file, reason_of(error)))
            continue
        _write_results(detector, evaluation, output / job.name)
        evaluations.append(evaluation)
        # After each category, so that a run that is stopped keeps what it has.
        _write_tables(evaluations, failed, output)
    if not evaluations:
        raise InputError(_nothing_measured(failed))
    return evaluations


def _measure(job: "Job", how: InspectionOptions) -> "tuple[Detector, Evaluation]":
    from dataclasses import replace
    from functools import partial

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from pyramidflow.cli.summary import say_left_out
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation import evaluate as evaluate_category
    from pyramidflow.io.names import printable

    say_left_out(job.category.left_out, job.category.remarks, of=job.category.name)
    detector = Detector.load(job.file, device=how.device)
    detector.prepare(**how.settings)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(printable(job.name), total=len(job.category.test))
        evaluation = evaluate_category(detector, job.category, partial(bar.advance, task))
    return detector, replace(evaluation, detector_name=job.file.stem)


def _write_results(detector: "Detector", evaluation: "Evaluation", folder: Path) -> None:
    from pyramidflow.cli.summary import training_facts
    from pyramidflow.evaluation import write_scores
    from pyramidflow.evaluation.report import write_evaluation_report

    facts = training_facts(detector) | {"test time": f"{evaluation.seconds:.1f} s"}
    write_scores(evaluation, folder / "scores.jsonl")
    write_evaluation_report(detector, evaluation, list(facts.items()), folder / REPORT)


def _write_tables(
    evaluations: "Sequence[Evaluation]", failed: "Sequence[FailedJob]", output: Path
) -> None:
    from pyramidflow.evaluation import table_rows, write_csv, write_markdown

    rows = table_rows(evaluations)
    write_csv(rows, output / TABLE)
    write_markdown(rows, output / "metrics.md", _notes(evaluations, failed))


def _notes(evaluations: "Sequence[Evaluation]", failed: "Sequence[FailedJob]") -> list[str]:
    from pyramidflow.evaluation import has_mean, remarks

    with_mean = has_mean(evaluations)
    notes = [
        f"{evaluation.category if with_mean else evaluation.detector_name}: {remark}"
        for evaluation in evaluations
        for remark in remarks(evaluation)
    ]
    if not with_mean:
        notes.append("There is no mean: several detectors were measured on one category.")
    return notes + [f"Not measured: {job.file.name}: {job.reason}" for job in failed]


def _nothing_measured(failed: "Sequence[FailedJob]") -> str:
    if len(failed) == 1:
        return failed[0].reason
    return f"none of {len(failed)} detectors could be measured; the first: {failed[0].reason}"


def _print_results(
    evaluations: "Sequence[Evaluation]", failed: "Sequence[FailedJob]", output: Path
) -> None:
    from pyramidflow.evaluation import table_rows
    from pyramidflow.io.names import printable

    print_table(table_rows(evaluations))
    for note in _notes(evaluations, failed):
        typer.echo(printable(note))
    for evaluation in evaluations:
        for outcome in evaluation.failures:
            typer.echo(f"error: {printable(outcome.error)}", err=True)
    for job in failed:
        typer.echo(f"error: {printable(job.reason)}", err=True)
    typer.echo(f"written to {printable(output)}: {TABLE}, metrics.md, CATEGORY/{REPORT}")


def _print_earlier_reports(
    jobs: "Sequence[Job]", failed: "Sequence[FailedJob]", output: Path
) -> None:
    """Say which reports do not belong to the table that now lies beside them."""
    from pyramidflow.io.names import printable

    without_report = {job.file for job in failed}
    written = {job.name for job in jobs if job.file not in without_report}
    for report in sorted(output.glob(f"*/{REPORT}")):
        if report.parent.name not in written:
            typer.echo(f"from an earlier run: {printable(report)}")


def print_table(rows: "Sequence[Row]") -> None:
    """Print the table in parts that fit a terminal: pixels, images, threshold, counts, runs."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pyramidflow.evaluation import COUNTS, SETTINGS, formatted

    about_pixels = [key for key in rows[0] if key.startswith(("pixel", "aupro"))]
    about_threshold = [key for key in rows[0] if key.startswith(("false", "detection", "escape"))]
    others = {"category", *COUNTS, *SETTINGS, *about_pixels, *about_threshold}
    about_images = [key for key in rows[0] if key not in others]
    # The detector tells rows of one category apart.
    several = len({row["category"] for row in rows}) < len(rows)
    names = ("category", "detector") if several else ("category",)
    settings = tuple(key for key in SETTINGS if key not in names)
    for keys in (about_pixels, about_images, about_threshold, COUNTS, settings):
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for key in (*names, *keys):
            heading = key.replace("_", "\n").replace("@", "\n@")
            is_text = key in ("category", "detector")
            justify: Literal["left", "right"] = "left" if is_text else "right"
            table.add_column(heading, justify=justify, no_wrap=not is_text, overflow="fold")
        for row in rows:
            cells = formatted(row)
            table.add_row(*(Text(cells[key]) for key in (*names, *keys)))
        Console().print(table)

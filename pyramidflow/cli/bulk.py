"""``pyramidflow bulk``."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pyramidflow.cli.exit_codes import EXIT_INPUT_ERROR
from pyramidflow.cli.groups import InspectionOptions, ThresholdOptions, with_groups
from pyramidflow.cli.inspect import FailOnDefectOption, MapsOption
from pyramidflow.cli.options import ModelFile, ReportFolder, refuse_without
from pyramidflow.cli.outcomes import Limits, exit_by, show_error, show_verdict, summary
from pyramidflow.cli.ray_options import ClusterOptions
from pyramidflow.cli.summary import say_left_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyramidflow.bulk.archive import Places
    from pyramidflow.bulk.cluster import ClusterSettings
    from pyramidflow.bulk.run import BulkTally
    from pyramidflow.bulk.work import Away, Conditions, Engine, Work
    from pyramidflow.line.record import Record

EngineOption = Annotated[
    Literal["line", "ray"],
    typer.Option(
        "--engine",
        help="line inspects in this process; ray, on a cluster of processes or machines, with the "
        "extra ray.",
    ),
]
PlacesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH…",
        help="Images, folders, patterns such as 'in/*.png', and the same as URLs: "
        "s3://bucket/folder, gs://…, file:///….",
        show_default=False,
    ),
]
OverlaysOption = Annotated[
    bool, typer.Option("--overlays", help="Write a picture of each image with its map.")
]
PicturesOfOption = Annotated[
    Literal["all", "not-ok"] | None,
    typer.Option("--pictures-of", help="Whose overlays and maps are written.", show_default="all"),
]
CsvOption = Annotated[
    bool, typer.Option("--csv", help="Write each record as a row for a spreadsheet, too.")
]
StationOption = Annotated[
    str, typer.Option("--station", help="What the records call the place of these pictures.")
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Add each record to this database, too: sqlite:///parts.sqlite or "
        "postgresql://user@host/database, without a password in it.",
        show_default=False,
    ),
]


@with_groups
def bulk(
    paths: PlacesArgument,
    model: ModelFile,
    output: ReportFolder,
    thresholds: ThresholdOptions,
    how: InspectionOptions,
    cluster: ClusterOptions,
    engine: EngineOption = "line",
    overlays: OverlaysOption = False,
    maps: MapsOption = False,
    pictures_of: PicturesOfOption = None,
    csv: CsvOption = False,
    database: DatabaseOption = None,
    station: StationOption = "bulk",
    fail_on_defect: FailOnDefectOption = False,
) -> None:
    """Look for defects in a whole archive, on many cores, GPUs or machines.

    Writes the same records as a line, as JSON into records/. The same command goes on where an
    earlier one was stopped or killed: a picture with a record is not inspected again, and no record
    is written twice. A picture that cannot be read is a record with its error, and the exit code is
    then 2. Ctrl-C finishes what is in hand.
    """
    from pyramidflow.line.extras import need

    for library in ("pydantic", "sqlalchemy", "alembic"):
        need(library, "line", "bulk")
    from pyramidflow.bulk.archive import RECORDS_NAME, Places
    from pyramidflow.bulk.work import Work

    there = cluster.settings(engine, how.threads)
    kinds = ("overlay",) * overlays + ("map",) * maps
    if not kinds:
        refuse_without("--overlays or --maps", {"pictures_of": pictures_of})
    places = Places(output, csv, database, kinds, (pictures_of or "all").replace("-", " "), station)
    work = Work(model, thresholds.by_name, how.device, how.settings, station, places.pictures)
    tally, conditions = _inspect(paths, places, work, there)
    limits = Limits(conditions.threshold, conditions.review_threshold, conditions.has_review)
    _end(tally, limits, output / RECORDS_NAME, fail_on_defect)


def _inspect(
    paths: list[str], places: "Places", work: "Work", cluster: "ClusterSettings | None"
) -> "tuple[BulkTally, Conditions]":
    from pyramidflow.bulk.archive import open_archive
    from pyramidflow.bulk.listing import find_pictures
    from pyramidflow.bulk.objects import largest_object
    from pyramidflow.bulk.run import inspect_archive
    from pyramidflow.interrupt import StopRequest

    found = find_pictures(paths, places.output, largest_object(work.settings["max_pixels"]))
    say_left_out(found.left_out)
    with (
        _opened(work, cluster) as engine,
        open_archive(places, engine.conditions) as archive,
        StopRequest("picture") as stop,
    ):
        if archive.earlier.records:
            typer.echo(f"resumed: {archive.earlier.records} images were inspected earlier")
        tally = inspect_archive(found.pictures, engine, archive, _show, lambda: stop.requested)
        return tally, engine.conditions


@contextmanager
def _opened(work: "Work", cluster: "ClusterSettings | None") -> "Iterator[Engine]":
    if cluster is None:
        from pyramidflow.bulk.line_engine import LineEngine

        yield LineEngine(work)
        return
    from pyramidflow.bulk.ray_engine import ray_engine

    with ray_engine(work, cluster) as engine:
        yield engine


def _show(outcome: "Record | Away") -> None:
    from pyramidflow.bulk.work import Away

    if isinstance(outcome, Away):
        show_error(outcome.reason)
        return
    if outcome.verdict is not None:
        show_verdict(outcome.verdict, outcome.score, outcome.path)
    if outcome.error is not None:
        show_error(outcome.error)


def _end(tally: "BulkTally", limits: Limits, records: Path, fail_on_defect: bool) -> None:
    how = "the same command goes on from here"
    for line in summary(tally.counts, limits, records, how):
        typer.echo(line)
    if tally.away:
        typer.echo(f"{tally.away} images could not be fetched, and have no record: {how}")
    for sentence in tally.lacking:
        show_error(f"{sentence} The same command delivers what waits.")
    if not tally.counts.stopped and (tally.away or tally.lacking):
        raise typer.Exit(EXIT_INPUT_ERROR)
    exit_by(tally.counts, fail_on_defect)

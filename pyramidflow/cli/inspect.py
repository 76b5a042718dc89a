"""``pyramidflow inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import (
    Device,
    MemoryBudget,
    ModelFile,
    PrecisionName,
    ReportFolder,
    Threads,
    bytes_of,
)

EXIT_DEFECTS_FOUND = 1


def inspect(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="Images, or folders of them.", show_default=False),
    ],
    model: ModelFile,
    output: ReportFolder,
    overlays: Annotated[
        bool,
        typer.Option(
            "--overlays/--no-overlays",
            help="Write a picture of each image with its map; the colour scale is the model's.",
        ),
    ] = True,
    maps: Annotated[
        bool, typer.Option("--maps", help="Write each anomaly map as a float32 TIFF.")
    ] = False,
    fail_on_defect: Annotated[
        bool, typer.Option("--fail-on-defect", help="Exit with code 1 when a defect was found.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    memory_budget: MemoryBudget = None,
    precision: PrecisionName = None,
) -> None:
    """Look for defects in images.

    Writes results.jsonl (replacing an earlier run's) with a line for each image: path, score,
    threshold, verdict (ok or ng) and regions with box, area and peak. An image that cannot be read
    gets a line with its error, the others are still inspected, and the exit code is 2.
    """
    from pyramidflow.cli import EXIT_INPUT_ERROR
    from pyramidflow.detector import Detector
    from pyramidflow.detector.findings import Inspection
    from pyramidflow.errors import InputError
    from pyramidflow.inspection import (
        RESULTS_NAME,
        Source,
        find_sources,
        inspect_sources,
        open_result_folder,
    )

    sources = find_sources(paths)
    detector = Detector.load(model, device=device)
    if detector.threshold is None:
        raise InputError(f"{model} has no threshold yet: run pyramidflow calibrate.")
    detector.prepare(threads=threads, memory_budget=bytes_of(memory_budget), precision=precision)

    def show(source: Source, found: Inspection | InputError) -> None:
        if isinstance(found, InputError):
            typer.echo(f"error: {found}", err=True)
        else:
            typer.echo(f"{found.verdict}  {found.score:.6g}  {source.path}")

    scale = detector.map_scale if overlays else None
    with open_result_folder(output, scale=scale, keep_maps=maps) as results:
        tally = inspect_sources(detector, sources, results, show)
    typer.echo(
        f"{tally.ok} ok, {tally.ng} ng, {tally.unreadable} unreadable; "
        f"threshold {detector.threshold:.6g}; results in {output / RESULTS_NAME}"
    )
    if tally.unreadable:
        raise typer.Exit(EXIT_INPUT_ERROR)
    if fail_on_defect and tally.ng:
        raise typer.Exit(EXIT_DEFECTS_FOUND)

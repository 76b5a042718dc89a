"""``pyramidflow inspect``."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.groups import InspectionOptions, ThresholdOptions, with_groups
from pyramidflow.cli.options import ModelFile, ReportFolder
from pyramidflow.cli.outcomes import Limits, exit_by, show_error, show_verdict, summary
from pyramidflow.cli.summary import say_left_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyramidflow.detector import Inspection, Session
    from pyramidflow.errors import InputError
    from pyramidflow.line import Frame, ResultFolder


PathsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="PATH…", help="Images, or folders of them.", show_default=False),
]
OverlaysOption = Annotated[
    bool,
    typer.Option(
        "--overlays/--no-overlays",
        help="Write a picture of each image with its map; the colour scale is the model's.",
    ),
]
MapsOption = Annotated[
    bool, typer.Option("--maps", help="Write each anomaly map as a float32 TIFF.")
]
FailOnDefectOption = Annotated[
    bool, typer.Option("--fail-on-defect", help="Exit with code 1 when a part is not ok.")
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where an earlier run into the same folder stopped; images with an error "
        "are tried again.",
    ),
]


@with_groups
def inspect(
    paths: PathsArgument,
    model: ModelFile,
    output: ReportFolder,
    thresholds: ThresholdOptions,
    how: InspectionOptions,
    overlays: OverlaysOption = True,
    maps: MapsOption = False,
    fail_on_defect: FailOnDefectOption = False,
    resume: ResumeOption = False,
) -> None:
    """Look for defects in images.

    Writes results.jsonl (replacing an earlier run's) with a line for each image: path, score,
    thresholds, verdict (ok, ng, or review between two thresholds and where an aligning detector
    does not find the part) and regions with box, area and peak. An image that cannot be read gets
    a line with its error, the others are still inspected, and the exit code is 2. Ctrl-C and
    termination requests finish the image in hand; --resume goes on from there.
    """
    from pyramidflow.interrupt import StopRequest
    from pyramidflow.line import RESULTS_NAME, find_frames, inspect_frames, open_inspector

    found = find_frames(paths, output)
    say_left_out(found.left_out)
    inspector = open_inspector(model, thresholds.by_name, how.device, **how.settings)
    session = inspector.session
    run = {"model": inspector.digest, **_facts(session), "overlays": overlays, "maps": maps}
    kinds = ("overlay",) * overlays + ("map",) * maps
    open_folder = _resumed if resume else _emptied
    with (
        open_folder(output, found.frames, kinds=kinds, run=run) as (results, images),
        StopRequest("image") as stop,
    ):
        tally = inspect_frames(session, images, results, _show, lambda: stop.requested)
    limits = Limits.of(session)
    for line in summary(tally, limits, output / RESULTS_NAME, "--resume goes on from here"):
        typer.echo(line)
    exit_by(tally, fail_on_defect)


def _facts(session: "Session") -> dict[str, Any]:
    """What of a session a further run must have in common with this one."""
    return {
        "threshold": session.threshold,
        "review_threshold": session.review_threshold,
        "pixel_threshold": session.pixel_threshold,
        "device": session.device.type,
        "precision": session.conditions.precision,
    }


@contextmanager
def _emptied(
    output: Path, images: "list[Frame]", **how: Any
) -> "Iterator[tuple[ResultFolder, list[Frame]]]":
    from pyramidflow.line import open_result_folder

    with open_result_folder(output, frames=images, **how) as results:
        yield results, images


@contextmanager
def _resumed(
    output: Path, images: "list[Frame]", **how: Any
) -> "Iterator[tuple[ResultFolder, list[Frame]]]":
    from pyramidflow.line import pictures_among, resume_result_folder

    with resume_result_folder(output, **how) as results:
        left = results.earlier.remaining(images, pictures_among(images, output))
        typer.echo(f"resumed: {len(images) - len(left)} images were inspected earlier")
        yield results, left


def _show(frame: "Frame", found: "Inspection | InputError") -> None:
    from pyramidflow.errors import InputError

    if isinstance(found, InputError):
        show_error(found)
    else:
        show_verdict(found.verdict, found.score, frame.origin)

"""``pyramidflow train``."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.groups import DataOptions, TrainingOptions, with_groups
from pyramidflow.cli.history_places import FromHistory, PictureFolders
from pyramidflow.cli.options import Workers, detector_file, refuse_without
from pyramidflow.cli.spec_options import with_settings

if TYPE_CHECKING:
    from pyramidflow.data import Category
    from pyramidflow.detector import Detector
    from pyramidflow.line.history.marked import MarkedPictures
    from pyramidflow.training import Parallel


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder of good images, or a data set in MVTec AD, BTAD or VisA layout.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", help="Detector file to write (.safetensors).", show_default=False),
]
TuneOption = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="Choose settings before the training, on good images with drawn defects; those "
        "that are given stand.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")
]


@with_settings
@with_groups
def train(
    data: DataArgument,
    output: OutputOption,
    chosen: DataOptions,
    how: TrainingOptions,
    settings: dict[str, Any],
    tune: TuneOption = False,
    add_from_history: FromHistory = None,
    pictures: PictureFolders = None,
    workers: Workers = None,
    resume: ResumeOption = False,
) -> None:
    """Train a detector from good images, and calibrate it on a held-out share of them.

    A checkpoint is written beside the output after each epoch and on Ctrl-C; --resume goes on from
    it, with more --epochs if wanted. With --tune settings are chosen first, by short trainings and
    defects drawn into held-out good images. Test images are never looked at. --add-from-history
    trains on two thirds of the pictures of parts that people marked good as well; the others, and
    those marked bad, judge the detector, and the one that it replaces.
    """
    from pyramidflow.cli.summary import print_facts, print_training
    from pyramidflow.cli.together import together
    from pyramidflow.detector import Detector
    from pyramidflow.io.files import exclusive

    with together(how.device) as (parallel, device):
        detector_file(output)
        dataset, exam = _data(chosen.opened(data), add_from_history, pictures, output)
        settings = chosen.with_preset(dataset, settings)
        detector = Detector(encoder_weights=how.encoder_weights, device=device, **settings)
        checkpoint = output.with_suffix(".checkpoint.safetensors")
        results = output.with_suffix(".tuning.json")
        reading: dict[str, Any] = {"cache_bytes": how.cache_bytes, "max_pixels": how.max_pixels}
        is_first = parallel.rank == 0
        with exclusive(output, covers=[checkpoint, results]) if is_first else nullcontext():
            if tune:
                choosing = (tuple(settings), results, resume, reading)
                detector = _tuned(detector, dataset, parallel, *choosing)
                resume = resume and checkpoint.exists()  # a tuning may have been stopped before it
            reading |= {"workers": workers, "parallel": parallel}
            detector.fit(dataset, checkpoint=checkpoint, resume=resume, **reading)
            if is_first:
                detector.save(output)
        if is_first:
            print_training(detector, output, checkpoint)
            if exam is not None:
                print_facts(exam(detector))


def _data(
    dataset: "Category",
    add_from_history: str | None,
    pictures: list[Path] | None,
    output: Path,
) -> "tuple[Category, Callable[[Detector], dict[str, str]] | None]":
    """The data set, with marked pictures if asked, and what judges a detector by others of them."""
    from pyramidflow.cli.from_history import marked_in

    if add_from_history is None:
        refuse_without("--add-from-history", {"pictures": pictures})
        return dataset, None
    return _with_marked(dataset, marked_in(add_from_history, pictures), output)


def _with_marked(
    data: "Category", marked: "MarkedPictures", output: Path
) -> "tuple[Category, Callable[[Detector], dict[str, str]]]":
    """A data set with marked pictures, and what compares a detector with the one at the output."""
    from pyramidflow.cli.from_history import apart, before_and_after, judged_by
    from pyramidflow.detector import Detector

    taught, kept = apart(marked.good)
    typer.echo(
        f"{len(taught)} pictures are trained on as well; {len(kept)} good and {len(marked.bad)} "
        "bad ones judge",
        err=True,
    )
    old = Detector.load(output) if output.exists() else None
    before = judged_by(old, kept, marked.bad)

    def exam(detector: "Detector") -> dict[str, str]:
        return before_and_after(before, judged_by(detector, kept, marked.bad))

    return replace(data, train=tuple(sorted({*data.train, *taught}))), exam


def _tuned(
    detector: "Detector",
    data: "Category",
    parallel: "Parallel",
    given: tuple[str, ...],
    results: Path,
    resume: bool,
    reading: dict[str, Any],
) -> "Detector":
    """The detector with chosen settings; of several processes the first one chooses."""
    found: list[Detector] = []

    def settings() -> str:
        from rich.console import Console

        from pyramidflow.cli.tuning import ConsoleTuning
        from pyramidflow.tuning import tune

        with ConsoleTuning(Console(stderr=True)) as progress:
            how: dict[str, Any] = {"results": results, "resume": resume, "progress": progress}
            found.append(tune(detector, data, keep=given, **how, **reading))
        return json.dumps(found[0].spec.as_settings())

    told = parallel.told(settings)
    return found[0] if found else detector.changed(**json.loads(told))

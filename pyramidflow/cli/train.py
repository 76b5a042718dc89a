"""``pyramidflow train``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.groups import TrainingOptions, with_groups
from pyramidflow.cli.history_places import FromHistory, PictureFolders
from pyramidflow.cli.options import CategoryName, Workers, detector_file
from pyramidflow.cli.settings import with_settings

if TYPE_CHECKING:
    from pyramidflow.data import Category
    from pyramidflow.detector import Detector
    from pyramidflow.line.history.marked import MarkedPictures


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
PresetOption = Annotated[
    str | None,
    typer.Option(
        help="Published settings for the category: mvtec has those of the released code for "
        "MVTec AD, paper the letter of the supplement. Options that are given stand above it."
    ),
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
    settings: dict[str, Any],
    how: TrainingOptions,
    category: CategoryName = None,
    preset: PresetOption = None,
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
    from pyramidflow.cli.from_history import marked_in
    from pyramidflow.cli.summary import print_facts, print_training, say_left_out
    from pyramidflow.data import open_dataset
    from pyramidflow.detector import Detector
    from pyramidflow.io.files import exclusive

    detector_file(output)
    dataset = open_dataset(data, category)
    say_left_out(dataset.left_out, dataset.remarks)
    settings = with_preset(preset, dataset, settings)
    exam = None
    if add_from_history is not None:
        marked = marked_in(add_from_history, pictures)
        dataset, exam = _with_marked(dataset, marked, output)
    detector = Detector(encoder_weights=how.encoder_weights, device=how.device, **settings)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    results = output.with_suffix(".tuning.json")
    reading: dict[str, Any] = {"cache_bytes": how.cache_bytes, "max_pixels": how.max_pixels}
    with exclusive(output, covers=[checkpoint, results]):
        if tune:
            detector = _tuned(detector, dataset, tuple(settings), results, resume, reading)
            resume = resume and checkpoint.exists()  # the tuning may have been stopped before it
        detector.fit(dataset, checkpoint=checkpoint, resume=resume, workers=workers, **reading)
        detector.save(output)
    print_training(detector, output, checkpoint)
    if exam is not None:
        print_facts(exam(detector))


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
    given: tuple[str, ...],
    results: Path,
    resume: bool,
    reading: dict[str, Any],
) -> "Detector":
    from rich.console import Console

    from pyramidflow.cli.tuning import ConsoleTuning
    from pyramidflow.tuning import tune

    with ConsoleTuning(Console(stderr=True)) as progress:
        return tune(
            detector,
            data,
            keep=given,
            results=results,
            resume=resume,
            progress=progress,
            **reading,
        )


def with_preset(preset: str | None, data: "Category", given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a category by a preset, said on standard error; those given stand above it."""
    if preset is None:
        return given
    from pyramidflow.training import preset_settings

    found = preset_settings(preset, data.name)
    listed = ", ".join(f"{name} {value}" for name, value in found.items())
    typer.echo(f"preset {preset} for {data.name}: {listed}", err=True)
    return found | given

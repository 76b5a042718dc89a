"""``pyramidflow train``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.options import (
    CacheSize,
    Device,
    EncoderWeights,
    MaxMegapixels,
    Workers,
    detector_file,
    pixels_of,
)
from pyramidflow.cli.settings import with_settings

if TYPE_CHECKING:
    from pyramidflow.data import Category
    from pyramidflow.detector import Detector


@with_settings
def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of good images, or a data set in MVTec AD, BTAD or VisA layout.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", help="Detector file to write (.safetensors).", show_default=False),
    ],
    settings: dict[str, Any],
    category: Annotated[
        str | None, typer.Option(help="Category, where the data set has several.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Published settings for the category: mvtec has those of the released code for "
            "MVTec AD, paper the letter of the supplement. Options that are given stand above it."
        ),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Choose settings before the training, on good images with drawn defects; those "
            "that are given stand.",
        ),
    ] = False,
    encoder_weights: EncoderWeights = None,
    cache_size: CacheSize = 2048,
    max_megapixels: MaxMegapixels = None,
    workers: Workers = None,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")
    ] = False,
) -> None:
    """Train a detector from good images, and calibrate it on a held-out share of them.

    A checkpoint is written beside the output after each epoch and on Ctrl-C; --resume goes on from
    it, with more --epochs if wanted. With --tune settings are chosen first, by short trainings and
    defects drawn into held-out good images. Test images are never looked at.
    """
    from pyramidflow.cli.summary import left_out_lines, print_training
    from pyramidflow.data import open_dataset
    from pyramidflow.detector import Detector
    from pyramidflow.io.files import exclusive

    detector_file(output)
    dataset = open_dataset(data, category)
    for line in (*dataset.remarks, *left_out_lines(dataset.left_out)):
        typer.echo(line, err=True)
    settings = with_preset(preset, dataset, settings)
    detector = Detector(encoder_weights=encoder_weights, device=device, **settings)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    results = output.with_suffix(".tuning.json")
    reading: dict[str, Any] = {
        "cache_bytes": cache_size * 1_000_000,
        "max_pixels": pixels_of(max_megapixels),
    }
    with exclusive(output, covers=[checkpoint, results]):
        if tune:
            detector = _tuned(detector, dataset, tuple(settings), results, resume, reading)
            resume = resume and checkpoint.exists()  # the tuning may have been stopped before it
        detector.fit(dataset, checkpoint=checkpoint, resume=resume, workers=workers, **reading)
        detector.save(output)
    print_training(detector, output, checkpoint)


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

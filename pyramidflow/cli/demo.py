"""``pyramidflow demo``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import Device

TEXTURE = "brick"
"""Photograph that the demo's set is made from."""

MARKER = ".made-by-pyramidflow-demo"
"""File that tells an earlier run's data, which may be replaced, from anything else."""

UNFINISHED = ".pyramidflow-demo-unfinished"
"""Folder in which the data are made; a run that is stopped leaves it to the next one."""


OutputOption = Annotated[Path, typer.Option(help="Folder for data, detector and report.")]
ImageSizeOption = Annotated[int, typer.Option(min=32, help="Side of the images, in pixels.")]
ImagesOption = Annotated[
    int, typer.Option(min=4, help="Good images to train on and calibrate with.")
]
EpochsOption = Annotated[int, typer.Option(min=1, help="Passes over the training images.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of data and training.")]


def demo(
    output: OutputOption = Path("pyramidflow-demo"),
    image_size: ImageSizeOption = 128,
    images: ImagesOption = 80,
    epochs: EpochsOption = 4,
    seed: SeedOption = 0,
    device: Device = "auto",
) -> None:
    """Show the whole way on a small set made from real textures: train, calibrate, evaluate.

    Needs nothing but the installed package. Good images are crops of a photograph, the defects
    (scratch, spot, stain, hole) are drawn in. Writes the data, the detector, an HTML report and the
    inspection results.
    """
    from pyramidflow.cli.summary import print_facts, training_facts
    from pyramidflow.data import open_dataset
    from pyramidflow.demo.textures import make_texture_set
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation import evaluate
    from pyramidflow.evaluation.report import write_evaluation_report
    from pyramidflow.io.files import exclusive
    from pyramidflow.line import (
        RESULTS_NAME,
        find_frames,
        inspect_frames,
        open_result_folder,
    )

    model, report = output / "detector.safetensors", output / "report.html"
    with exclusive(model, covers=[report]):
        data, unfinished = output / TEXTURE, output / UNFINISHED
        _clear_earlier_run(data, unfinished)
        make_texture_set(
            unfinished,
            texture=TEXTURE,
            seed=seed,
            image_size=image_size,
            train=images,
            good=max(2, images // 4),
            defective_per_kind=max(1, images // 16),
        )
        (unfinished / MARKER).touch()
        unfinished.rename(data)
        dataset = open_dataset(data)
        detector = Detector(image_size, volume_norm="svn", seed=seed, device=device)
        detector.fit(dataset, epochs=epochs, augment="none", validation_share=0.25)
        detector.save(model)
        typer.echo("evaluating", err=True)
        evaluation = evaluate(detector, dataset)
        write_evaluation_report(
            detector, evaluation, list(training_facts(detector).items()), report
        )
        with open_result_folder(output, kinds=["overlay"]) as results:
            inspect_frames(detector.session, find_frames([data / "test"]).frames, results)
    metrics = evaluation.metrics
    print_facts(
        {
            "image AUROC": f"{metrics.image_auroc:.4f}",
            "pixel AUROC": f"{metrics.pixel_auroc:.4f}",
            "AUPRO": f"{metrics.aupro_03:.4f} up to 0.3, {metrics.aupro_10:.4f} up to 1.0",
            "defects found": f"{evaluation.detection_rate:.1%}",
            "good rejected": f"{evaluation.false_rejects.value:.1%}",
            "training": f"{detector.training['seconds']:.0f} s",
            "report": str(report.resolve()),
            "detector": str(model.resolve()),
            "results": str((output / RESULTS_NAME).resolve()),
            "overlays": str((output / "overlays").resolve()),
        }
    )


def _clear_earlier_run(data: Path, unfinished: Path) -> None:
    import shutil

    from pyramidflow.errors import InputError
    from pyramidflow.io.names import printable

    shutil.rmtree(unfinished, ignore_errors=True)
    if (data / MARKER).exists():
        # Renamed first: of a folder that is half removed, nobody could tell whose it is.
        data.rename(unfinished)
        shutil.rmtree(unfinished)
    elif data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise InputError(
            f"{printable(data)} is not an empty folder: choose a new folder for the texture set."
        )
    elif data.exists():
        data.rmdir()

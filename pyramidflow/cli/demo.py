"""``pyramidflow demo``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyramidflow.cli.options import Device

if TYPE_CHECKING:
    from pyramidflow.evaluation import Evaluation

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
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation import evaluate
    from pyramidflow.evaluation.report import write_evaluation_report
    from pyramidflow.io.files import exclusive
    from pyramidflow.line import find_frames, inspect_frames, open_result_folder

    model, report = output / "detector.safetensors", output / "report.html"
    with exclusive(model, covers=[report]):
        dataset = open_dataset(_make_data(output, image_size, images, seed))
        detector = Detector(image_size, volume_norm="svn", seed=seed, device=device)
        detector.fit(dataset, epochs=epochs, augment="none", validation_share=0.25)
        detector.save(model)
        typer.echo("evaluating", err=True)
        evaluation = evaluate(detector, dataset)
        write_evaluation_report(
            detector, evaluation, list(training_facts(detector).items()), report
        )
        with open_result_folder(output, kinds=["overlay"]) as results:
            inspect_frames(detector.session, find_frames([dataset.root / "test"]).frames, results)
    print_facts(
        _measured(evaluation)
        | {"training": f"{detector.training['seconds']:.0f} s"}
        | _written(output, report, model)
    )


def _measured(evaluation: "Evaluation") -> dict[str, str]:
    metrics = evaluation.metrics
    return {
        "image AUROC": f"{metrics.image_auroc:.4f}",
        "pixel AUROC": f"{metrics.pixel_auroc:.4f}",
        "AUPRO": f"{metrics.aupro_03:.4f} up to 0.3, {metrics.aupro_10:.4f} up to 1.0",
        "defects found": f"{evaluation.detection_rate:.1%}",
        "good rejected": f"{evaluation.false_rejects.value:.1%}",
    }


def _written(output: Path, report: Path, model: Path) -> dict[str, str]:
    from pyramidflow.line import RESULTS_NAME

    places = {
        "report": report,
        "detector": model,
        "results": output / RESULTS_NAME,
        "overlays": output / "overlays",
    }
    return {name: str(place.resolve()) for name, place in places.items()}


def _make_data(output: Path, image_size: int, images: int, seed: int) -> Path:
    """Make the texture set; it is whole, or not there."""
    from pyramidflow.demo.textures import make_texture_set

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
    return data


def _clear_earlier_run(data: Path, unfinished: Path) -> None:
    import shutil

    from pyramidflow.demo.textures import check_empty

    shutil.rmtree(unfinished, ignore_errors=True)
    if (data / MARKER).exists():
        # Renamed first: of a folder that is half removed, nobody could tell whose it is.
        data.rename(unfinished)
        shutil.rmtree(unfinished)
    else:
        check_empty(data)
        if data.exists():
            data.rmdir()

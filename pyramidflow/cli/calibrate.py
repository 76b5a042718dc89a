"""``pyramidflow calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import Device, FalseRejectRate, ModelFile


def calibrate(
    good: Annotated[
        Path,
        typer.Argument(
            metavar="GOOD",
            help="Folder of good images that were not trained on.",
            show_default=False,
        ),
    ],
    model: ModelFile,
    target_false_reject_rate: FalseRejectRate = 0.01,
    output: Annotated[
        Path | None,
        typer.Option(help="Detector file to write.", show_default="the model itself"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Set the threshold of a detector from good images, for a wanted rate of false rejects."""
    from pyramidflow.cli.summary import describe_calibration, print_facts
    from pyramidflow.detector import Detector
    from pyramidflow.io.files import exclusive

    target = output or model
    # Not only while it is saved: a training that ends meanwhile would be overwritten.
    with exclusive(target):
        detector = Detector.load(model, device=device)
        detector.calibrate(good, target_false_reject_rate)
        detector.save(target)
    print_facts(
        {
            "detector": str(target),
            "threshold": describe_calibration(detector.described().calibration),
        }
    )

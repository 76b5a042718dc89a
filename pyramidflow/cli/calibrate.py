"""``pyramidflow calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import (
    Device,
    FalseRejectRate,
    MaxMegapixels,
    ModelFile,
    PrecisionName,
    ThresholdByHand,
    detector_file,
    pixels_of,
)


def calibrate(
    model: ModelFile,
    good: Annotated[
        Path | None,
        typer.Argument(
            metavar="[GOOD]",
            help="Folder of good images that were not trained on.",
            show_default=False,
        ),
    ] = None,
    target_false_reject_rate: FalseRejectRate = 0.01,
    threshold: ThresholdByHand = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Detector file to write.", show_default="the model itself"),
    ] = None,
    device: Device = "auto",
    precision: PrecisionName = None,
    max_megapixels: MaxMegapixels = None,
) -> None:
    """Set the threshold of a detector from good images, for a wanted rate of false rejects.

    Or set it by hand, with --threshold and without images. Calibrate in the precision that the line
    inspects in; the file says which it was.
    """
    from pyramidflow.cli.summary import describe_calibration, left_out_lines, print_facts
    from pyramidflow.data import find_images
    from pyramidflow.detector import Detector
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import exclusive
    from pyramidflow.io.names import printable

    if (good is None) == (threshold is None):
        raise InputError(
            "calibrate takes either a folder of good images or --threshold: give one of them."
        )
    target = model if output is None else detector_file(output)
    # Not only while it is saved: a training that ends meanwhile would be overwritten.
    with exclusive(target):
        detector = Detector.load(model, device=device)
        if good is None:
            detector.threshold = threshold
        else:
            for line in left_out_lines(find_images(good).left_out):
                typer.echo(line, err=True)
            detector.prepare(precision=precision, max_pixels=pixels_of(max_megapixels))
            detector.calibrate(good, target_false_reject_rate)
        detector.save(target)
    print_facts(
        {
            "detector": printable(target),
            "threshold": describe_calibration(detector.described().calibration),
        }
    )

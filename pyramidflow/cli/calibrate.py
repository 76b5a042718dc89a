"""``pyramidflow calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.options import (
    Device,
    FalseRejectRate,
    MaxMegapixels,
    ModelFile,
    PixelThreshold,
    PrecisionName,
    ReviewRate,
    ReviewThreshold,
    ThresholdByHand,
    detector_file,
    pixels_of,
)
from pyramidflow.cli.settings import with_verdict

if TYPE_CHECKING:
    from pyramidflow.detector import Detector


@with_verdict
def calibrate(
    model: ModelFile,
    settings: dict[str, Any],
    good: Annotated[
        Path | None,
        typer.Argument(
            metavar="[GOOD]",
            help="Folder of good images that were not trained on.",
            show_default=False,
        ),
    ] = None,
    target_false_reject_rate: FalseRejectRate = 0.01,
    target_review_rate: ReviewRate = None,
    threshold: ThresholdByHand = None,
    review_threshold: ReviewThreshold = None,
    pixel_threshold: PixelThreshold = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Detector file to write.", show_default="the model itself"),
    ] = None,
    device: Device = "auto",
    precision: PrecisionName = None,
    max_megapixels: MaxMegapixels = None,
) -> None:
    """Set the thresholds of a detector from good images, for wanted rates of good parts.

    From images all thresholds are set anew. Without images those that are given by hand are set,
    and the others stay. Settings of the verdict change the detector without a training; where they
    change the scores, thresholds are needed with them. Calibrate in the precision that the line
    inspects in; the file says which it was.
    """
    from pyramidflow.cli.summary import left_out_lines, print_facts, threshold_facts
    from pyramidflow.data import find_images
    from pyramidflow.detector import Detector
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import exclusive
    from pyramidflow.io.names import printable

    by_hand = (threshold, review_threshold, pixel_threshold)
    nothing = good is None and set(by_hand) == {None} and not settings
    if (good is not None and threshold is not None) or nothing:
        raise InputError(
            "calibrate takes either a folder of good images or thresholds such as --threshold: "
            "give one of them."
        )
    if target_review_rate is not None and (good is None or review_threshold is not None):
        raise InputError(
            "--target-review-rate sets the review threshold from good images: give a folder of "
            "them and no --review-threshold, or --review-threshold in place of it."
        )
    target = model if output is None else detector_file(output)
    # Not only while it is saved: a training that ends meanwhile would be overwritten.
    with exclusive(target):
        detector = Detector.load(model, device=device)
        if good is not None:
            for line in left_out_lines(find_images(good).left_out):
                typer.echo(line, err=True)
            detector.prepare(precision=precision, max_pixels=pixels_of(max_megapixels))
            detector.calibrate(good, target_false_reject_rate, target_review_rate, **settings)
        elif settings:
            _set_verdict(detector, settings, has_threshold=threshold is not None)
        if set(by_hand) != {None}:
            detector.set_thresholds(*by_hand)
        detector.save(target)
    print_facts({"detector": printable(target)} | threshold_facts(detector.described().calibration))


def _set_verdict(detector: "Detector", settings: dict[str, Any], *, has_threshold: bool) -> None:
    """Change settings of the verdict without images.

    Raises:
        InputError: the scores change, and no threshold is given for them.
    """
    import warnings

    from pyramidflow.errors import CalibrationWarning, InputError

    before = detector.spec.rule
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # it is refused, or settled by hand
        detector.set_verdict(**settings)
    if not (has_threshold or before.scores_as(detector.spec.rule)):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in settings)
        raise InputError(
            f"{names} changes the scores, so that the threshold would be another one's: give a "
            "folder of good images to calibrate on, or --threshold."
        )

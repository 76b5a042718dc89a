"""``pyramidflow calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.history_places import FromHistory, PictureFolders
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
    from_history: FromHistory = None,
    pictures: PictureFolders = None,
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

    The images are those of a folder, or, with --from-history, those of parts that people marked
    good; it then says how many marked parts are judged wrongly, before and after. From images all
    thresholds are set anew. Without images those that are given by hand are set, and the others
    stay. Settings of the verdict change the detector without a training; where they change the
    scores, thresholds are needed with them. Calibrate in the precision that the line inspects in;
    the file says which it was.
    """
    from pyramidflow.cli.from_history import before_and_after, judged_by, marked_in
    from pyramidflow.cli.summary import left_out_lines, print_facts, threshold_facts
    from pyramidflow.data import find_images
    from pyramidflow.detector import Detector
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import exclusive
    from pyramidflow.io.names import printable

    by_hand = (threshold, review_threshold, pixel_threshold)
    given = [value for value in (good, from_history, threshold) if value is not None]
    nothing = not given and set(by_hand) == {None} and not settings
    if len(given) > 1 or nothing:
        raise InputError(
            "calibrate takes either a folder of good images or thresholds such as --threshold, or "
            "--from-history: give one of them."
        )
    has_images = good is not None or from_history is not None
    if target_review_rate is not None and (not has_images or review_threshold is not None):
        raise InputError(
            "--target-review-rate sets the review threshold from good images: give a folder of "
            "them and no --review-threshold, or --review-threshold in place of it."
        )
    target = model if output is None else detector_file(output)
    # Not only while it is saved: a training that ends meanwhile would be overwritten.
    facts: dict[str, str] = {}
    rates = (target_false_reject_rate, target_review_rate)
    with exclusive(target):
        detector = Detector.load(model, device=device)
        if has_images:
            detector.prepare(precision=precision, max_pixels=pixels_of(max_megapixels))
        if good is not None:
            for line in left_out_lines(find_images(good).left_out):
                typer.echo(line, err=True)
            detector.calibrate(good, *rates, **settings)
        elif from_history is not None:
            marked = marked_in(from_history, pictures)
            before = judged_by(detector, marked.good, marked.bad)
            detector.calibrate(marked.good, *rates, **settings)
            facts = before_and_after(before, judged_by(detector, marked.good, marked.bad))
        elif settings:
            _set_verdict(detector, settings, has_threshold=threshold is not None)
        if set(by_hand) != {None}:
            detector.set_thresholds(*by_hand)
        detector.save(target)
    facts = threshold_facts(detector.described().calibration) | facts
    print_facts({"detector": printable(target)} | facts)


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

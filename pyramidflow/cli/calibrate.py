"""``pyramidflow calibrate``."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidflow.cli.groups import ThresholdOptions, with_groups
from pyramidflow.cli.history_places import FromHistory, PictureFolders
from pyramidflow.cli.options import (
    Device,
    FalseRejectRate,
    MaxMegapixels,
    ModelFile,
    PrecisionName,
    ReviewRate,
    detector_file,
    pixels_of,
    refuse_without,
)
from pyramidflow.cli.spec_options import with_verdict
from pyramidflow.errors import InputError
from pyramidflow.variants import FALSE_REJECT_RATE

if TYPE_CHECKING:
    from pyramidflow.detector import Detector
    from pyramidflow.line.history.marked import MarkedPictures

GoodArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[GOOD]",
        help="Folder of good images that were not trained on.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option(help="Detector file to write.", show_default="the model itself")
]

Rates = tuple[float, float | None]
"""Shares of good parts that may be rejected, and that may be for review or rejected."""


@dataclass(frozen=True)
class ImagesOptions:
    """How thresholds are set from good images."""

    target_false_reject_rate: FalseRejectRate = None
    target_review_rate: ReviewRate = None
    precision: PrecisionName = None
    max_megapixels: MaxMegapixels = None

    @property
    def rates(self) -> Rates:
        """Both rates, with the usual one of false rejects."""
        wanted = self.target_false_reject_rate
        return (FALSE_REJECT_RATE if wanted is None else wanted, self.target_review_rate)


@with_verdict
@with_groups
def calibrate(
    model: ModelFile,
    settings: dict[str, Any],
    by_hand: ThresholdOptions,
    how: ImagesOptions,
    good: GoodArgument = None,
    from_history: FromHistory = None,
    pictures: PictureFolders = None,
    output: OutputOption = None,
    device: Device = "auto",
) -> None:
    """Set the thresholds of a detector from good images, for wanted rates of good parts.

    The images are those of a folder, or, with --from-history, those of parts that people marked
    good; it then says how many marked parts are judged wrongly, before and after. From images all
    thresholds are set anew. Without images those that are given by hand are set, and the others
    stay. Settings of the verdict change the detector without a training; where they change the
    scores, thresholds are needed with them. Calibrate in the precision that the line inspects in;
    the file says which it was.
    """
    from pyramidflow.cli.from_history import marked_in
    from pyramidflow.cli.summary import print_facts, threshold_facts
    from pyramidflow.detector import Detector
    from pyramidflow.io.files import exclusive
    from pyramidflow.io.names import printable

    has_images = good is not None or from_history is not None
    _check_one_way(good, from_history, by_hand, is_changed=bool(settings))
    if not has_images:
        refuse_without("good images", asdict(how))
    if from_history is None:
        refuse_without("--from-history", {"pictures": pictures})
    if how.target_review_rate is not None and by_hand.review_threshold is not None:
        raise InputError(
            "--target-review-rate sets the review threshold from good images: leave it out, or "
            "--review-threshold."
        )
    target = model if output is None else detector_file(output)
    facts: dict[str, str] = {}
    # Not only while it is saved: a training that ends meanwhile would be overwritten.
    with exclusive(target):
        detector = Detector.load(model, device=device)
        if has_images:
            detector.prepare(precision=how.precision, max_pixels=pixels_of(how.max_megapixels))
        if good is not None:
            _calibrate_on_folder(detector, good, how.rates, settings)
        elif from_history is not None:
            marked = marked_in(from_history, pictures)
            facts = _calibrate_on_marked(detector, marked, how.rates, settings)
        elif settings:
            _set_verdict(detector, settings)
        if by_hand.are_given:
            detector.set_thresholds(**by_hand.by_name)
        _check_thresholds(detector)
        detector.save(target)
    facts = threshold_facts(detector.described()) | facts
    print_facts({"detector": printable(target)} | facts)


def _check_one_way(
    good: Path | None, from_history: str | None, by_hand: ThresholdOptions, *, is_changed: bool
) -> None:
    ways = sum(way is not None for way in (good, from_history, by_hand.threshold))
    if ways > 1 or not (ways or by_hand.are_given or is_changed):
        raise InputError(
            "calibrate takes either a folder of good images or thresholds such as --threshold, or "
            "--from-history: give one of them."
        )


def _calibrate_on_folder(
    detector: "Detector", good: Path, rates: Rates, settings: dict[str, Any]
) -> None:
    from pyramidflow.cli.summary import say_left_out
    from pyramidflow.data import find_images

    say_left_out(find_images(good).left_out)
    detector.calibrate(good, *rates, **settings)


def _calibrate_on_marked(
    detector: "Detector", marked: "MarkedPictures", rates: Rates, settings: dict[str, Any]
) -> dict[str, str]:
    """Calibrate on good marked pictures; facts about how all are judged before and after."""
    from pyramidflow.cli.from_history import before_and_after, judged_by

    before = judged_by(detector, marked.good, marked.bad)
    detector.calibrate(marked.good, *rates, **settings)
    return before_and_after(before, judged_by(detector, marked.good, marked.bad))


def _set_verdict(detector: "Detector", settings: dict[str, Any]) -> None:
    import warnings

    from pyramidflow.errors import CalibrationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # it is refused, or settled by hand
        detector.set_verdict(**settings)


def _check_thresholds(detector: "Detector") -> None:
    """Write no file whose thresholds judge nothing.

    Raises:
        InputError: they were made for other scores.
    """
    stale = detector.described().stale
    if stale is not None:
        raise InputError(f"neither a folder of good images nor --threshold is given, but {stale}")

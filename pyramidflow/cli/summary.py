"""What commands print about a detector."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyramidflow.io.names import printable
from pyramidflow.spec import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyramidflow.bulk.listing import PassedOver
    from pyramidflow.data import LeftOut
    from pyramidflow.detector import Calibration, Detector
    from pyramidflow.detector.header import Header
    from pyramidflow.detector.record import TrainingRecord
    from pyramidflow.spec import Spec


def print_facts(facts: dict[str, str]) -> None:
    """Print names and values in two columns, a line each."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {printable(value)}")


def say_left_out(
    left_out: "Sequence[LeftOut | PassedOver]", remarks: "Sequence[str]" = (), of: str | None = None
) -> None:
    """Say on standard error what a data set lacks, and how many files are not used and why.

    Args:
        left_out: files and folders that are not used; of each reason the first is named.
        remarks: about the data set.
        of: its category, where several are read.
    """
    first: dict[str, LeftOut | PassedOver] = {}
    for item in left_out:
        first.setdefault(item.reason, item)
    counts = Counter(item.reason for item in left_out)
    lines = [
        f"left out: {count} ({reason}), the first is {printable(first[reason].path)}"
        for reason, count in counts.items()
    ]
    for line in (*remarks, *lines):
        typer.echo(printable(line if of is None else f"{of}: {line}"), err=True)


def describe_calibration(calibration: "Calibration | None") -> str:
    """One line about the threshold and how it was found."""
    if calibration is None:
        return "none yet: run pyramidflow calibrate"
    if calibration.source == "by hand":
        return f"{calibration.threshold:.6g}, set by hand"
    images, rate = calibration.images, calibration.target_false_reject_rate
    promised = calibration.promised_false_reject_rate
    line = f"{calibration.threshold:.6g}, from {images} {calibration.source} images"
    if rate is not None:
        line += f", aimed at {rate:.2%} false rejects"
    if calibration.precision is not None:
        line += f", in {calibration.precision} on {calibration.device}"
    if calibration.source == "training" or calibration.trained_on:
        known = calibration.trained_on or images
        return f"{line}; {known} of them were trained on: calibrate on other good images"
    if rate is not None and promised is not None and promised > rate:
        needed = calibration.images_needed_for_target
        line += f"; {images} images promise {promised:.2%}, {needed} would promise {rate:.2%}"
    return line


def threshold_facts(header: "Header") -> dict[str, str]:
    """Facts about the thresholds; the lower ones only where there are any."""
    calibration = header.calibration
    facts = {"threshold": describe_calibration(calibration)}
    if calibration is None:
        return facts
    if calibration.review_threshold is not None:
        facts["review above"] = _describe_review(calibration, calibration.review_threshold)
    if calibration.pixel_threshold is not None:
        facts["regions above"] = f"{calibration.pixel_threshold:.6g}, set by hand"
    if header.stale is not None:
        facts["NOT VALID"] = header.stale
    elif calibration.scored_by is None:
        facts["made for"] = "scores by settings of the verdict that this older file does not say"
    return facts


def _describe_review(calibration: "Calibration", threshold: float) -> str:
    rate, promised = calibration.target_review_rate, calibration.promised_review_rate
    if rate is None or promised is None:
        return f"{threshold:.6g}, set by hand"
    line = f"{threshold:.6g}, aimed at {rate:.2%} of the good parts for review or rejected"
    return (
        f"{line}; {calibration.images} images promise {promised:.2%}" if promised > rate else line
    )


def header_facts(header: "Header") -> dict[str, str]:
    """Facts about a detector file: every setting, the threshold, the training."""
    facts = {
        title: ", ".join(
            f"{name.replace('_', ' ')} {_shown(name, value)}" for name, value in values.items()
        )
        for title, values in header.spec.by_group().items()
    }
    if header.alignment is not None:
        facts["poses"] = (
            f"training images agree by {header.alignment.agreement:.3f} with their mean (median), "
            f"below {header.alignment.limit:.3f} a part is for review"
        )
    facts |= threshold_facts(header)
    training = header.training
    versions = f"pyramidflow {header.library_version}"
    if training is not None:
        facts["trained on"] = printable(
            f"{training.category} ({training.layout} layout), {training.images} images, "
            f"{training.held_out} held out"
        )
        facts["training"] = (
            f"{training.epochs} epochs, {training.seconds:.0f} s, finished {training.finished}"
        )
        versions = ", ".join([versions, f"torch {training.torch}", *training.packages])
    return facts | {"versions": printable(versions)}


def _shown(name: str, value: Any) -> str:
    described = names()[name][2]
    if value is None:
        return described.shown_default or "not given"
    if described.text is not str:
        return described.text(value) or str(described.shown_default)
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def training_facts(detector: "Detector") -> dict[str, str]:
    """Facts about a detector in memory."""
    return header_facts(detector.described())


def print_training(detector: "Detector", output: Path, checkpoint: Path) -> None:
    """Print what a training did and where its files are."""
    header = detector.described()
    training = header.training
    assert training is not None
    held_out = training.held_out_loss
    facts = {
        "detector": str(output),
        "checkpoint": f"{checkpoint} (--resume with more --epochs goes on from it)",
        "images": f"{training.images} to train, {training.held_out} held out",
        "epochs": str(training.epochs),
        "loss": f"{training.loss:.4g}"
        + ("" if held_out is None else f", on held-out images {held_out:.4g}"),
        **threshold_facts(header),
        "training time": f"{training.seconds:.0f} s",
    }
    if training.suspects:
        pairs = zip(training.suspects, training.suspect_scores, strict=True)
        listed = ", ".join(f"{name} ({score:.4g})" for name, score in pairs)
        facts["left out"] = f"of what is normal, with their scores: {listed}; look at them"
    facts["poses"] = _poses(training, header.spec)
    memory = peak_memory()
    if memory is not None:
        facts["peak memory"] = f"{memory / 2**20:.0f} MiB"
    print_facts(facts)
    if header.trials:
        from pyramidflow.cli.tuning import print_trials

        print_trials(header.trials)


def _poses(training: "TrainingRecord", spec: "Spec") -> str:
    """One line about how the good parts lie, and whether to align them."""
    if training.shift is None:
        return "no pose that the good images have in common, or too few of them"
    lying, aligned = (
        f"{mean:.4g} ± {deviation:.2g}"
        for mean, deviation in (training.lying_scores, training.aligned_scores)
    )
    line = (
        f"the good parts lie {training.shift:.1%} of the width and {training.angle:.1f}° off "
        f"(medians); against each other they score {lying} as they lie, {aligned} aligned"
    )
    # The scores are a template's: of a codebook they say nothing.
    is_asked = spec.alignment.align == "none" and not spec.contrast.is_codebook_alone
    if is_asked and training.advice != "none":
        line += f": train with --align {training.advice}"
    return line


def peak_memory() -> int | None:
    """Largest resident size of this process so far in bytes; ``None`` where it is not known."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

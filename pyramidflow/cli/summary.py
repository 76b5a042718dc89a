"""What commands print about a detector."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramidflow.io.names import printable

if TYPE_CHECKING:
    from pyramidflow.detector import Detector


def print_facts(facts: dict[str, str]) -> None:
    """Print names and values in two columns, a line each."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {printable(value)}")


def describe_calibration(threshold: float | None, calibration: dict[str, Any] | None) -> str:
    """One line about the threshold and how it was found."""
    if threshold is None or calibration is None:
        return "none yet: run pyramidflow calibrate"
    images, rate = calibration["images"], calibration["target_false_reject_rate"]
    promised = calibration["promised_false_reject_rate"]
    source = f"{images} {calibration['source']} images"
    line = f"{threshold:.6g}, from {source}, aimed at {rate:.2%} false rejects"
    if calibration["source"] == "training":
        return f"{line}; no images were held out, so calibrate on good images before relying on it"
    if promised > rate:
        needed = calibration["images_needed_for_target"]
        line += f"; {images} images promise {promised:.2%}, {needed} would promise {rate:.2%}"
    return line


def header_facts(header: dict[str, Any]) -> dict[str, str]:
    """Facts about a detector file, from its header."""
    architecture, training = header["architecture"], header["training"]
    recipe = training["recipe"]
    region = header["region_of_interest"]
    facts = {
        "network": f"encoder {architecture['encoder']}, {architecture['channels']} channels, "
        f"{architecture['levels']} levels, {architecture['stacks']} stacks, "
        f"kernel {architecture['kernel_size']}, volume norm {architecture['volume_norm']}",
        "image size": str(header["preprocessing"]["image_size"]),
        "threshold": describe_calibration(header["threshold"], header["calibration"]),
        "region of interest": "whole image" if region is None else str(region),
        "trained on": f"{training['category']} ({training['layout']} layout), "
        f"{training['images']} images, {training['held_out']} held out",
        "training": f"{recipe['epochs']} epochs, batch size {recipe['batch_size']}, "
        f"seed {recipe['seed']}, augmentation {'texture' if recipe['augment'] else 'none'}, "
        f"{training['seconds']:.0f} s, finished {training['finished']}",
        "versions": f"pyramidflow {header['library_version']}, torch {training['torch']}",
    }
    if header["without"]:
        facts["without"] = ", ".join(header["without"])
    return facts


def training_facts(detector: "Detector") -> dict[str, str]:
    """Facts about a detector in memory."""
    return header_facts(detector.header())


def print_training(detector: "Detector", output: Path, checkpoint: Path) -> None:
    """Print what a training did and where its files are."""
    training = detector.training
    last = training["history"][-1]
    held_out = last["validation_loss"]
    facts = {
        "detector": str(output),
        "checkpoint": f"{checkpoint} (--resume with more --epochs goes on from it)",
        "images": f"{training['images']} to train, {training['held_out']} held out",
        "epochs": str(last["epoch"]),
        "loss": f"{last['loss']:.4g}"
        + ("" if held_out is None else f", on held-out images {held_out:.4g}"),
        "threshold": describe_calibration(detector.threshold, detector.calibration),
        "training time": f"{training['seconds']:.0f} s",
    }
    memory = peak_memory()
    if memory is not None:
        facts["peak memory"] = f"{memory / 2**20:.0f} MiB"
    print_facts(facts)


def peak_memory() -> int | None:
    """Largest resident size of this process so far in bytes; ``None`` where it is not known."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""Inspection with products in bfloat16 beside float32: time, and what it changes in the maps.

``python -m benchmarks.precision`` writes ``benchmarks/results/precision.md`` and ``.json``.
"""

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.subjects import detector, images
from benchmarks.turns import timed
from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast
from pyramidflow.runtime import Precision, Runtime, Settings, TrainedNetwork, make_runtime

RESULT = Path(__file__).parent / "results" / "precision.md"

METHOD = """\
Two engines of one network in one process, one image each in turns; medians of the rounds after a
first one. The networks are untrained: the last convolution of every coupling, which starts at zero,
is normal with the deviation 1/sqrt(fan-in), the running means have the deviation 1/9, and the
template is standard normal. A row compares two maps. Largest: the largest difference of a pixel
over the map's largest value. Norm: the norm of the difference over the map's. Score: the relative
difference of the largest values, which verdicts are made of.
"""

CASES: dict[str, tuple[str, int]] = {
    "baseline, 256×256": ("none", 256),
    "baseline, 1024×1024": ("none", 1024),
    "ResNet18, 1024×1024": ("resnet18", 1024),
}
"""Encoder and image size by name."""

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

SMALL: dict[str, tuple[str, int]] = {"baseline, 32×32": ("none", 32)}


def deviation(found: Tensor, expected: Tensor) -> dict[str, float]:
    """How far a map is from another one, relative."""
    found, expected = found.double(), expected.double()
    difference = found - expected
    return {
        "largest": float(difference.abs().max() / expected.abs().max()),
        "norm": float(difference.norm() / expected.norm()),
        "score": float((found.max() - expected.max()).abs() / expected.max()),
    }


def compare(encoder: str, size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Time of both precisions and the deviations of their maps; or why there is no bfloat16."""
    subject = detector(encoder, size, channels=16)
    network = subject.model
    assert subject.template is not None
    contrast = Contrast(subject.template)
    mean, std = torch.tensor([subject.preprocessing.mean, subject.preprocessing.std])
    pixels = images(1, size)
    trained = TrainedNetwork(
        network, contrast, subject.preprocessing.mean, subject.preprocessing.std
    )
    try:
        engines: dict[str, Runtime] = {
            precision: make_runtime(
                trained, (1, size, size), Settings(threads=threads, precision=precision)
            )
            for precision in PRECISIONS
        }
    except InputError as error:
        return {"missing": str(error)}
    with torch.inference_mode():
        maps = {name: engine.inspect(pixels).clone() for name, engine in engines.items()}
        with ops.use_backend("reference"):
            plain = network.anomaly_map(ops.normalize_image(pixels, mean, std), contrast)
        seconds = in_turns(engines, pixels, rounds)
    return {
        "milliseconds": seconds,
        "times_faster": seconds["float32"] / seconds["bfloat16"],
        "deviations": {
            "bfloat16 to float32": deviation(maps["bfloat16"], maps["float32"]),
            "float32 to plain PyTorch": deviation(maps["float32"], plain),
        },
    }


def in_turns(engines: dict[str, Runtime], pixels: Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds of each engine."""
    found: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            found[name].append(1e3 * timed(partial(engine.inspect, pixels)))
    return {name: statistics.median(values) for name, values in found.items()}


def tables(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Time and deviations as Markdown tables."""
    lines = ["| | float32 ms | bfloat16 ms | times faster |", "|---|---:|---:|---:|"]
    for name, found in cases.items():
        if "missing" in found:
            lines.append(f"| {name} | not measured: {found['missing']} | | |")
        else:
            ms = found["milliseconds"]
            lines.append(
                f"| {name} | {ms['float32']:.1f} | {ms['bfloat16']:.1f} "
                f"| {found['times_faster']:.2f} |"
            )
    lines += ["", "| | maps | largest | norm | score |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {which} | {found['largest']:.1e} | {found['norm']:.1e} "
        f"| {found['score']:.1e} |"
        for name, case in cases.items()
        for which, found in case.get("deviations", {}).items()
    ]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--small", action="store_true", help="tiny: only whether it runs")
    parser.add_argument("--output", type=Path, default=RESULT, help="Markdown file")
    options = parser.parse_args(arguments)
    cases = {
        name: compare(*case, options.threads, options.rounds)
        for name, case in (SMALL if options.small else CASES).items()
    }
    facts = report.facts("benchmarks.precision", arguments, options.threads)
    text = [*METHOD.splitlines(), "", *tables(cases)]
    report.write(
        options.output, "bfloat16 beside float32", facts | {"rounds": options.rounds}, text, cases
    )


if __name__ == "__main__":
    main()

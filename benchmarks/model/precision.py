"""Inspection with products in bfloat16 beside float32: time, and what it changes in the maps.

``python -m benchmarks.model.precision`` writes ``benchmarks/results/precision.md`` and ``.json``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.subjects import detector, images
from benchmarks.harness.turns import in_turns, medians
from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast
from pyramidflow.runtime import InspectionSettings, Precision, Runtime, TrainedNetwork, cpu

METHOD = """\
Two runtimes of one network in one process, one image each in turns; medians of the rounds after a
first one. The networks are untrained: the last convolution of every coupling, which starts at zero,
is normal with the deviation 1/sqrt(fan-in), the running means have the deviation 1/9, and the
template is standard normal. A row compares two maps. Largest: the largest difference of a pixel
over the map's largest value. Norm: the norm of the difference over the map's. Score: the relative
difference of the largest values, which verdicts are made of.
"""

CASES: dict[str, tuple[str, int]] = {
    "baseline, 256×256": ("lift", 256),
    "baseline, 1024×1024": ("lift", 1024),
    "ResNet18, 1024×1024": ("resnet18", 1024),
}
"""Encoder and image size by name."""

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")

SMALL: dict[str, tuple[str, int]] = {"baseline, 32×32": ("lift", 32)}


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
        runtimes: dict[str, Runtime] = {
            precision: cpu.make(
                trained, (size, size), InspectionSettings(threads=threads, precision=precision)
            )
            for precision in PRECISIONS
        }
    except InputError as error:
        return {"missing": str(error)}
    with torch.inference_mode():
        maps = {name: runtime.inspect(pixels).clone() for name, runtime in runtimes.items()}
        with ops.use_backend("reference"):
            plain = network.anomaly_map(ops.normalize_image(pixels, mean, std), contrast)
        runs = {name: partial(runtime.inspect, pixels) for name, runtime in runtimes.items()}
        milliseconds = {name: 1e3 * s for name, s in medians(in_turns(runs, rounds)).items()}
    return {
        "milliseconds": milliseconds,
        "times_faster": milliseconds["float32"] / milliseconds["bfloat16"],
        "deviations": {
            "bfloat16 to float32": deviation(maps["bfloat16"], maps["float32"]),
            "float32 to plain PyTorch": deviation(maps["float32"], plain),
        },
    }


def tables(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Time and deviations as Markdown tables."""
    times = []
    for name, found in cases.items():
        if "missing" in found:
            times.append([name, f"not measured: {found['missing']}"])
            continue
        cells = [f"{found['milliseconds'][precision]:.1f}" for precision in PRECISIONS]
        times.append([name, *cells, f"{found['times_faster']:.2f}"])
    deviations = [
        [name, which, *(f"{found[key]:.1e}" for key in ("largest", "norm", "score"))]
        for name, case in cases.items()
        for which, found in case.get("deviations", {}).items()
    ]
    return [
        *results.table(["", "float32 ms", "bfloat16 ms", "times faster"], times),
        "",
        *results.table(["", "maps", "largest", "norm", "score"], deviations, texts=2),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.model.precision", __doc__, "precision", rounds=10, small=True
    )
    options = common.parse(parser, arguments)
    cases = common.compared(options, compare, CASES, SMALL)
    text = [*METHOD.splitlines(), "", *tables(cases)]
    results.write(options, "bfloat16 beside float32", text, cases, {"rounds": options.rounds})


if __name__ == "__main__":
    main()

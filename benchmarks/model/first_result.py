"""Seconds from a detector's file to its first verdict, in a new process.

``python -m benchmarks.model.first_result`` writes ``benchmarks/results/first_result.md`` and
``.json``.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call

METHOD = """\
A new process imports PyTorch, then this package, loads a detector's file and inspects one PNG file;
the verdict of a second one follows. Seconds, the median of the rounds after a first one, which
brings the files into the system's cache. First verdict: all from the end of `import torch` on.
"""

CASES = {
    "baseline, 256×256": ("lift", 256),
    "baseline, 1024×1024": ("lift", 1024),
    "ResNet18, 1024×1024": ("resnet18", 1024),
}
"""Encoder and image size by name."""

SMALL = {"baseline, 32×32": ("lift", 32)}
STEPS = ("import torch", "import pyramidflow", "load", "first inspection", "second inspection")
THRESHOLD = 1e9
"""So that no region is found: random weights would make thousands of them."""


def measure(folder: str, threads: int) -> list[float]:
    """Seconds of each of :data:`STEPS`; nothing is imported but what a user imports."""
    marks = [time.perf_counter()]
    import torch

    marks.append(time.perf_counter())
    torch.set_num_threads(threads)
    from pyramidflow import Detector

    marks.append(time.perf_counter())
    detector = Detector.load(f"{folder}/detector.safetensors", device="cpu")
    marks.append(time.perf_counter())
    for _ in range(2):
        found = detector.inspect(f"{folder}/image.png")
        marks.append(time.perf_counter())
        assert found.verdict == "ok"
    return [end - start for start, end in pairwise(marks)]


def write_case(folder: Path, encoder: Any, size: int) -> None:
    """A detector's file and a picture of its size."""
    from PIL import Image

    from benchmarks.harness.subjects import detector, images

    made = detector(encoder, size, channels=16)
    made.threshold = THRESHOLD
    made.save(folder / "detector.safetensors")
    Image.fromarray(images(1, size)[0].numpy()).save(folder / "image.png")


def compare(encoder: str, size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Medians of the steps, and the first verdict's."""
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder), encoder, size)
        function = "benchmarks.model.first_result:measure"
        found = [call(function, folder, threads, threads=threads) for _ in range(rounds + 1)]
    verdicts = [sum(seconds[1:4]) for seconds in found[1:]]
    seconds = map(statistics.median, zip(*found[1:], strict=True))
    return {
        "seconds": dict(zip(STEPS, seconds, strict=True)),
        "first_verdict": statistics.median(verdicts),
        "first_verdicts": verdicts,
    }


def table(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Cases as a Markdown table."""
    rows = [
        [
            name,
            *(f"{found['seconds'][step]:.2f}" for step in STEPS),
            f"{found['first_verdict']:.2f}",
        ]
        for name, found in cases.items()
    ]
    return results.table(["", *STEPS, "first verdict"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.model.first_result", __doc__, "first_result", rounds=5, small=True
    )
    options = common.parse(parser, arguments)
    cases = common.compared(options, compare, CASES, SMALL)
    title, text = "From a detector's file to the first verdict", [*METHOD.splitlines(), ""]
    results.write(options, title, [*text, *table(cases)], cases, {"rounds": options.rounds})


if __name__ == "__main__":
    main()

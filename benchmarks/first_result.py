"""Seconds from a detector's file to its first verdict, in a new process.

``python -m benchmarks.first_result`` writes ``benchmarks/results/first_result.md`` and ``.json``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "first_result.md"

METHOD = """\
A new process imports PyTorch, then this package, loads a detector's file and inspects one PNG file;
the verdict of a second one follows. Seconds, the median of the rounds after a first one, which
brings the files into the system's cache. First verdict: all from the end of `import torch` on.
"""

CASES = {
    "baseline, 256×256": ("none", 256),
    "baseline, 1024×1024": ("none", 1024),
    "ResNet18, 1024×1024": ("resnet18", 1024),
}
"""Encoder and image size by name."""

SMALL = {"baseline, 32×32": ("none", 32)}
STEPS = ("import torch", "import pyramidflow", "load", "first inspection", "second inspection")
THRESHOLD = 1e9
"""So that no region is found: random weights would make thousands of them."""


def measure(folder: Path, threads: int) -> list[float]:
    """Seconds of each of :data:`STEPS`; nothing is imported but what a user imports."""
    marks = [time.perf_counter()]
    import torch

    marks.append(time.perf_counter())
    torch.set_num_threads(threads)
    from pyramidflow import Detector

    marks.append(time.perf_counter())
    detector = Detector.load(folder / "detector.safetensors", device="cpu")
    marks.append(time.perf_counter())
    for _ in range(2):
        found = detector.inspect(folder / "image.png")
        marks.append(time.perf_counter())
        assert found.verdict == "ok"
    return [end - start for start, end in pairwise(marks)]


def write_case(folder: Path, encoder: Any, size: int) -> None:
    """A detector's file and a picture of its size."""
    from PIL import Image

    from benchmarks.subjects import detector, images

    made = detector(encoder, size, channels=16)
    made.threshold = THRESHOLD
    made.save(folder / "detector.safetensors")
    Image.fromarray(images(1, size)[0].numpy()).save(folder / "image.png")


def compare(encoder: str, size: int, threads: int, rounds: int) -> dict[str, Any]:
    """Medians of the steps, and the first verdict's."""
    with tempfile.TemporaryDirectory() as folder:
        write_case(Path(folder), encoder, size)
        command = [sys.executable, "-m", "benchmarks.first_result", "--measure", folder]
        command += ["--threads", str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        found: list[list[float]] = []
        for _ in range(rounds + 1):
            process = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
            )
            found.append(json.loads(process.stdout.splitlines()[-1]))
    verdicts = [sum(seconds[1:4]) for seconds in found[1:]]
    medians = map(statistics.median, zip(*found[1:], strict=True))
    return {
        "seconds": dict(zip(STEPS, medians, strict=True)),
        "first_verdict": statistics.median(verdicts),
        "first_verdicts": verdicts,
    }


def table(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Cases as a Markdown table."""
    lines = [f"| | {' | '.join(STEPS)} | first verdict |", f"|---|{'---:|' * (len(STEPS) + 1)}"]
    for name, found in cases.items():
        seconds = " | ".join(f"{found['seconds'][step]:.2f}" for step in STEPS)
        lines.append(f"| {name} | {seconds} | {found['first_verdict']:.2f} |")
    return lines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_result", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--small", action="store_true", help="tiny: only whether it runs")
    parser.add_argument("--output", type=Path, default=RESULT, help="Markdown file")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    options = parse(arguments)
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options.threads)))
        return
    from benchmarks import report

    cases = {
        name: compare(*case, options.threads, options.rounds)
        for name, case in (SMALL if options.small else CASES).items()
    }
    facts = report.facts("benchmarks.first_result", arguments, options.threads)
    report.write(
        options.output,
        "From a detector's file to the first verdict",
        facts | {"rounds": options.rounds},
        [*METHOD.splitlines(), "", *table(cases)],
        cases,
    )


if __name__ == "__main__":
    main()

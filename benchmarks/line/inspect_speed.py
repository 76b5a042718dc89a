"""How many pictures a second ``inspect`` looks at, beside a former release.

``python -m benchmarks.line.inspect_speed --former PATH`` writes
``benchmarks/results/line_inspect.md`` and ``.json``. PATH is a checkout of the former release, with
its library built; by default that is the release before the line, commit 693ab42.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.facts import commit
from benchmarks.harness.process import ROOT
from benchmarks.line.parts import write_pictures

METHOD = """\
The command `pyramidflow inspect` on a folder of grainy PNGs with one detector, which the former
release trained. Pictures a second: the whole command, its start included. Marginal: by what more
pictures add, which a start of any length leaves alone. Processor: user and system time that a
picture adds, of all threads. Both releases take turns; each run is a process of its own, and the
median of the rounds counts. The scores must be equal.
"""

CASES = {
    "256×256, overlays": (256, ("--overlays",)),
    "256×256, no pictures": (256, ("--no-overlays",)),
}
SMALL = {"32×32, overlays": (32, ("--overlays",))}
COUNTS, SMALL_COUNTS = (40, 240), (4, 8)
GOOD_PICTURES = 12


class Run(NamedTuple):
    """What one command took, in seconds."""

    wall: float
    processor: float


def command(checkout: Path, threads: int, *arguments: object) -> Run:
    """Run a command of a checkout and time it.

    Args:
        checkout: whose code runs.
        threads: that OpenMP takes.
        arguments: of ``pyramidflow``.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, "-m", "pyramidflow", *map(str, arguments)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.PIPE, cwd=checkout, env=environment)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Run(wall, taken)


def train(folder: Path, former: Path, size: int, threads: int) -> Path:
    """A detector file of the former release.

    Args:
        folder: where pictures and file go.
        former: checkout.
        size: side of the pictures.
        threads: that compute.
    """
    write_pictures(folder / "good", size, "PNG", GOOD_PICTURES)
    file = folder / "part.safetensors"
    settings = ("--output", file, "--image-size", size, "--epochs", 1, "--device", "cpu")
    command(former, threads, "train", folder / "good", *settings)
    return file


def compare(
    size: int, flags: Sequence[str], counts: Sequence[int], options: Namespace
) -> dict[str, Any]:
    """Times of both releases by how many pictures, alternating.

    Args:
        size: side of the pictures.
        flags: of ``inspect``.
        counts: few and many pictures.
        options: with ``former``, ``threads`` and ``rounds``.

    Raises:
        ValueError: the releases disagree about a score.
    """
    checkouts = {"former": options.former.resolve(), "now": ROOT}
    runs: dict[str, dict[int, list[Run]]] = {
        name: {count: [] for count in counts} for name in checkouts
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = train(folder, checkouts["former"], size, options.threads)
        for count in counts:
            write_pictures(folder / f"in{count}", size, "PNG", count, different=count)
        for _ in range(options.rounds):
            for count in counts:
                for name, checkout in checkouts.items():
                    output = folder / name
                    given = (folder / f"in{count}", "--model", model, "--output", output)
                    how = ("--threads", options.threads, "--device", "cpu", *flags)
                    run = command(checkout, options.threads, "inspect", *given, *how)
                    runs[name][count].append(run)
                if scores(folder / "former") != scores(folder / "now"):
                    raise ValueError("the releases disagree about a score.")
    return compared(runs, *counts)


def scores(folder: Path) -> list[tuple[float, str]]:
    """Score and verdict of each record of a folder of results."""
    lines = (folder / "results.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [(record["score"], record["verdict"]) for record in records]


def compared(runs: dict[str, dict[int, list[Run]]], few: int, many: int) -> dict[str, Any]:
    """The numbers of one case.

    Args:
        runs: by release and by how many pictures.
        few: pictures of the short runs.
        many: of the long ones.
    """
    found: dict[str, Any] = {"runs": runs, "pictures": [few, many]}
    for name, by_count in runs.items():
        short, long = (
            Run(*(statistics.median(times) for times in zip(*by_count[count], strict=True)))
            for count in (few, many)
        )
        more = many - few
        found[name] = {
            "per_second": many / long.wall,
            "marginal_per_second": more / (long.wall - short.wall),
            "processor_ms": 1e3 * (long.processor - short.processor) / more,
        }
    for key in ("per_second", "marginal_per_second"):
        found[f"gain_{key}"] = found["now"][key] / found["former"][key]
    return found


def _rows(cases: dict[str, dict[str, Any]]) -> list[list[str]]:
    rows = []
    for name, found in cases.items():
        former, now = found["former"], found["now"]
        pairs = [
            f"{former[key]:.1f} → {now[key]:.1f}"
            for key in ("per_second", "marginal_per_second", "processor_ms")
        ]
        gains = [f"{found[f'gain_{key}']:.2f}" for key in ("per_second", "marginal_per_second")]
        rows.append([name, pairs[0], gains[0], pairs[1], gains[1], pairs[2]])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.line.inspect_speed", __doc__, "line_inspect", rounds=3, small=True
    )
    parser.add_argument("--former", type=Path, required=True, help="checkout of a former release")
    parser.add_argument(
        "--former-name", default="the release before the line", help="what the results call it"
    )
    options = common.parse(parser, arguments)
    chosen, counts = (SMALL, SMALL_COUNTS) if options.small else (CASES, COUNTS)
    cases = {name: compare(size, flags, counts, options) for name, (size, flags) in chosen.items()}
    heads = ["", "pictures/s", "gain", "marginal pictures/s", "gain", "processor ms a picture"]
    text = [*METHOD.splitlines(), "", *results.table(heads, _rows(cases))]
    former = commit(options.former.resolve() / "pyramidflow" / "__init__.py")
    facts = {
        "former": f"{options.former_name}, commit {former}",
        "rounds": options.rounds,
        "pictures": " and ".join(map(str, counts)),
    }
    results.write(
        options, "What `inspect` does in a second, beside a former release", text, cases, facts
    )


if __name__ == "__main__":
    main()

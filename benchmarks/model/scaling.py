"""Time and memory of an inspection against image size, channels, levels, stacks and threads.

``python -m benchmarks.model.scaling`` writes ``benchmarks/results/scaling.md``, ``.json`` and
``.png``. What does not fit is recorded as such.
"""

import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call, peak_memory
from benchmarks.harness.subjects import detector
from benchmarks.harness.turns import timed
from benchmarks.model import scaling_report
from pyramidflow import Detector
from pyramidflow.errors import InputError

SECONDS = 5.0
"""Time that a point's rounds may take, apart from the least rounds."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 20


@dataclass(frozen=True)
class Point:
    """What is measured.

    Attributes:
        encoder: ``"lift"`` or a ResNet.
        size: side of the image.
        channels: of the baseline; a ResNet has its own.
        levels: of the pyramid.
        stacks: of the flow.
        threads: that inspect.
        budget: of memory, in MB; ``None`` for the fastest plan.
    """

    encoder: str = "lift"
    size: int = 256
    channels: int = 16
    levels: int = 4
    stacks: int = 4
    threads: int = 1
    budget: int | None = None


@dataclass(frozen=True)
class Axis:
    """What is varied, and where.

    Attributes:
        name: attribute of a :class:`Point`.
        encoder: of all its points.
        values: in ascending order.
        size: side of the image where it is not the base's.
    """

    name: str
    encoder: str
    values: tuple[int, ...]
    size: int | None = None


def axes(sizes: Sequence[int], threads: int) -> list[Axis]:
    """All that are measured."""
    return [
        Axis("size", "lift", tuple(sizes)),
        Axis("size", "resnet18", tuple(sizes)),
        Axis("channels", "lift", (8, 16, 32, 64)),
        Axis("levels", "lift", tuple(range(2, 9))),
        Axis("stacks", "lift", (1, 2, 4, 8)),
        Axis("threads", "lift", tuple(range(1, threads + 1))),
        Axis("threads", "resnet18", tuple(range(1, threads + 1)), size=1024),
    ]


def inspect(point: Point, file: Path, memory_limit: int | None) -> dict[str, Any]:
    """Load, prepare and inspect in this process, which may take no more than the limit in bytes."""
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    torch.set_num_threads(point.threads)
    image = np.random.default_rng(0).integers(0, 256, (point.size, point.size, 3), dtype=np.uint8)
    before = peak_memory()
    loaded = Detector.load(file, device="cpu")
    budget = None if point.budget is None else point.budget * 10**6
    sessions: list[Any] = []
    prepare = timed(
        lambda: sessions.append(loaded.prepare(threads=point.threads, memory_budget=budget))
    )
    first = timed(lambda: loaded.working_map(image))
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / first)))
    seconds = [timed(lambda: loaded.working_map(image)) for _ in range(rounds)]
    plan = sessions[0].runtime.plan
    planned = plan and {
        "megabytes": plan.total_bytes / 1e6,
        "multiply_adds": plan.multiply_adds,
        "tiles": 1 if plan.tiling is None else plan.tiling.count,
    }
    return {
        "milliseconds": 1e3 * statistics.median(seconds),
        "rounds": rounds,
        "prepare_milliseconds": 1e3 * prepare,
        "start_megabytes": before,
        "peak_megabytes": peak_memory(),
        "plan": planned,
    }


def measure(point: Point, memory_limit: int | None) -> dict[str, Any]:
    """One row: a point with what :func:`inspect` finds in a new process, or why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "detector.safetensors"
        arguments = (point.encoder, point.size, point.channels, point.levels, point.stacks)
        detector(*arguments).save(file)
        question = asdict(point), str(file), memory_limit
        try:
            found = call("benchmarks.model.scaling:row_of", *question, threads=point.threads)
        except subprocess.CalledProcessError as error:
            # The system's way and C++'s to end a process for want of memory.
            if -error.returncode not in (signal.SIGKILL, signal.SIGABRT):
                raise SystemExit(f"{point} failed: see its messages above.") from error
            found = {"missing": "did not fit: the process was ended for want of memory"}
    return asdict(point) | found


def row_of(point: dict[str, Any], file: str, memory_limit: int | None) -> dict[str, Any]:
    """What a point's process does."""
    try:
        return inspect(Point(**point), Path(file), memory_limit)
    except (InputError, MemoryError) as error:
        return {"missing": f"did not fit: {error}"}
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        return {"missing": "did not fit: an allocation failed"}


def series(axis: Axis, base: Point, budget: int, memory_limit: int | None) -> list[dict[str, Any]]:
    """Rows of an axis; where the fastest plan is above the budget, one that keeps to it too."""
    rows: list[dict[str, Any]] = []
    for value in axis.values:
        before = len(rows)
        point = replace(base, size=axis.size or base.size, encoder=axis.encoder)
        point = replace(point, **{axis.name: value})
        rows.append(measure(point, memory_limit))
        if "missing" in rows[-1] or (rows[-1]["peak_megabytes"] or 0) > budget:
            rows.append(measure(replace(point, budget=budget), memory_limit))
        for row in rows[before:]:
            shown = row.get("missing") or f"{row['milliseconds']:.0f} ms"
            print(f"{axis.encoder}, {axis.name} {value}: {shown}", file=sys.stderr, flush=True)
    return rows


def available_memory() -> int | None:
    """Bytes that a process can have here; ``None`` where the system does not say."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return None
    line = next(x for x in file.read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Options of the command line."""
    parser = common.parser("benchmarks.model.scaling", __doc__, "scaling", small=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument(
        "--budget", type=int, default=4000, metavar="MB", help="where the fastest plan takes more"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=["size", "channels", "levels", "stacks", "threads"],
        help="what to vary",
    )
    return common.parse(parser, arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the two files and the picture."""
    options = parse(arguments)
    available = available_memory()
    memory_limit = None if available is None else int(0.8 * available)
    wanted = axes(options.sizes, options.threads)
    base = Point(threads=options.threads)
    if options.small:
        wanted = [replace(axis, values=axis.values[:2], size=None) for axis in axes((32, 64), 2)]
        base = Point(size=32, channels=4, levels=3, stacks=1)
    if options.only:
        wanted = [axis for axis in wanted if axis.name in options.only]
    found = [
        asdict(axis) | {"rows": series(axis, base, options.budget, memory_limit)} for axis in wanted
    ]
    picture = options.output.with_suffix(".png")
    text = scaling_report.text(asdict(base), found, picture.name)
    cases = {"base": asdict(base), "series": found}
    facts = {"memory budget": f"{options.budget} MB"}
    results.write(options, "Time and memory against size", text, cases, facts)
    scaling_report.plot(found).savefig(picture, dpi=130)


if __name__ == "__main__":
    main()

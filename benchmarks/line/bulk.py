"""What a second worker of a Ray cluster brings to the inspection of an archive.

``python -m benchmarks.line.bulk`` writes ``benchmarks/results/bulk.md`` and ``.json``.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call
from benchmarks.harness.turns import median_ratio
from benchmarks.line.parts import write_detector, write_pictures

METHOD = """\
The same files are inspected by `bulk`'s engines, each worker with one thread, to JSONL. A picture's
time is that of the wall clock, from the moment when a fifth of the records is kept to the last one,
over the pictures between. Start: from the call to the first record, with the cluster and the
workers. Medians of the rounds, which alternate; each is a process of its own. Scaling: the median
of the rounds' ratios of one worker's time to that of two.
"""

SIZES = {"256×256": (256, 300), "1024×1024": (1024, 30)}
"""Side and number of the pictures."""

SMALL = {"32×32": (32, 60)}
ENGINES = {"line": 0, "ray, 1 worker": 1, "ray, 2 workers": 2}
"""Workers; 0 is this process."""

BEFORE = 0.2
"""Share of the pictures that are not timed: all workers have to be at work."""


def seconds(folder: str, workers: int) -> dict[str, float]:
    """Seconds for a picture, and to the first record.

    Args:
        folder: with the detector and the pictures.
        workers: of a cluster; 0 for the line's pipeline in this process.
    """
    import torch

    from pyramidflow.bulk.archive import Places, open_archive
    from pyramidflow.bulk.cluster import ClusterSettings
    from pyramidflow.bulk.line_engine import LineEngine
    from pyramidflow.bulk.listing import find_pictures
    from pyramidflow.bulk.ray_engine import ray_engine
    from pyramidflow.bulk.run import inspect_archive
    from pyramidflow.bulk.work import Engine, Work

    torch.set_num_threads(1)
    output = Path(tempfile.mkdtemp(dir=folder))
    found = find_pictures([f"{folder}/in"], output, 10**9).pictures
    work = Work(Path(folder, "part.safetensors"), device="cpu", settings={"threads": 1})
    moments: list[float] = []

    def inspect(engine: Engine) -> None:
        with open_archive(Places(output), engine.conditions) as archive:
            inspect_archive(
                found, engine, archive, lambda outcome: moments.append(time.perf_counter())
            )

    started = time.perf_counter()
    if workers:
        with ray_engine(work, ClusterSettings(workers=workers, threads=1)) as engine:
            inspect(engine)
    else:
        inspect(LineEngine(work))
    if len(moments) != len(found):
        raise RuntimeError(f"{len(moments)} records of {len(found)} pictures")
    first = int(BEFORE * len(moments))
    return {
        "picture": (moments[-1] - moments[first]) / (len(moments) - 1 - first),
        "start": moments[0] - started,
    }


def compare(size: int, count: int, rounds: int) -> dict[str, Any]:
    """Each engine's times, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        write_detector(Path(folder, "part.safetensors"), size)
        write_pictures(Path(folder, "in"), size, "PNG", count)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
        for _ in range(rounds):
            for name, workers in ENGINES.items():
                found[name].append(call("benchmarks.line.bulk:seconds", folder, workers, threads=1))
    times = {name: [each["picture"] for each in rounds] for name, rounds in found.items()}
    starts = {name: [each["start"] for each in rounds] for name, rounds in found.items()}
    return {
        "milliseconds": {name: 1e3 * statistics.median(each) for name, each in times.items()},
        "start": {name: statistics.median(each) for name, each in starts.items()},
        "scaling": median_ratio(times, "ray, 1 worker", "ray, 2 workers"),
        "pictures": count,
        "rounds": found,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser("benchmarks.line.bulk", __doc__, "bulk", rounds=3, small=True)
    options = common.parse(parser, arguments)
    sizes = SMALL if options.small else SIZES
    cases = {name: compare(*case, options.rounds) for name, case in sizes.items()}
    heads = ["", *(f"{name}, ms" for name in ENGINES), "scaling", "start, s"]
    rows = [
        [
            name,
            *(f"{found['milliseconds'][engine]:.1f}" for engine in ENGINES),
            f"{found['scaling']:.2f}",
            f"{found['start']['ray, 2 workers']:.1f}",
        ]
        for name, found in cases.items()
    ]
    text = [*METHOD.splitlines(), "", *results.table(heads, rows)]
    facts = {"rounds": options.rounds, "threads of a worker": 1}
    results.write(options, "A second worker of a cluster", text, cases, facts)


if __name__ == "__main__":
    main()

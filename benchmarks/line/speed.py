"""What the line adds to the session, and how long a part takes at 70% of the most it can do.

``python -m benchmarks.line.speed`` writes ``benchmarks/results/line_speed.md`` and ``.json``.
"""

import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call
from benchmarks.line.parts import write_detector, write_pictures

METHOD = """\
Session: the decoded pictures, one after the other, by `session.inspect_pixels`. Line: the same
pictures as files, from the source `files` to JSONL, decoded, inspected and recorded; from the first
record to the last. Overhead: the line's time for a part over the session's, less one. Latency: the
pictures put in from Python at 70% of the line's rate; from `put` to the record, in milliseconds.
Medians of the rounds, which alternate; each is a process of its own.
"""

CASES = {f"{size}×{size}, {kind}": (size, kind) for size in (256, 1024) for kind in ("PNG", "JPEG")}
SMALL = {"32×32, PNG": (32, "PNG")}
LOAD = 0.7


def session_seconds(folder: str, count: int, threads: int) -> float:
    """Seconds for a part by the session alone."""
    import torch

    from pyramidflow import Detector
    from pyramidflow.data import read_image

    torch.set_num_threads(threads)
    session = Detector.load(f"{folder}/part.safetensors", device="cpu").prepare(threads=threads)
    pictures = [read_image(path) for path in sorted(Path(folder, "in").iterdir())[:20]]
    list(session.inspect_pixels(pictures[:3]))
    started = time.perf_counter()
    for number in range(count):
        list(session.inspect_pixels([pictures[number % len(pictures)]]))
    return (time.perf_counter() - started) / count


def line_seconds(folder: str, count: int, threads: int) -> float:
    """Seconds for a part by the line, from the first record's time to the last one's."""
    import torch

    from pyramidflow.line import Line

    torch.set_num_threads(threads)
    with Line(
        _configuration(folder, {"kind": "files", "paths": [f"{folder}/in"]}, threads)
    ) as line:
        _wait_for(line, 1)
        started = time.perf_counter()
        first = _done(line)
        line.wait()
        return (time.perf_counter() - started) / (count - first)


def latencies(folder: str, count: int, threads: int, seconds: float) -> list[float]:
    """Milliseconds from put to record, of parts that come every so many seconds."""
    import torch

    from pyramidflow.line import Line

    torch.set_num_threads(threads)
    files = sorted(Path(folder, "in").iterdir())
    contents = [path.read_bytes() for path in files[:20]]
    with Line(_configuration(folder, {"kind": "python"}, threads)) as line:
        line.wait_until_ready()
        asked, start = [], time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number * seconds - time.perf_counter()))
            asked.append(line.put(contents[number % len(contents)]))
        records = [each.result() for each in asked]
    return [record.times["total"] for record in records[count // 10 :] if record is not None]


def _configuration(folder: str, source: dict[str, Any], threads: int) -> dict[str, Any]:
    place = Path(tempfile.mkdtemp(dir=folder))
    detector = f"{folder}/part.safetensors"
    return {
        "store": place / "line.sqlite",
        "stations": [{"detector": detector, "source": source, "threads": threads, "device": "cpu"}],
        "sinks": [{"kind": "jsonl", "folder": place / "records"}],
    }


def _done(line: Any) -> int:
    station = line.status()["stations"]["line"]
    return int(station["ok"] + station["errors"])


def _wait_for(line: Any, parts: int) -> None:
    while _done(line) < parts:
        time.sleep(0.001)


def compare(size: int, kind: str, count: int, threads: int, rounds: int) -> dict[str, Any]:
    """Both times, alternating, and the latencies at a share of the line's rate."""
    module = "benchmarks.line.speed"
    with tempfile.TemporaryDirectory() as folder:
        write_detector(Path(folder, "part.safetensors"), size)
        write_pictures(Path(folder, "in"), size, kind, count)
        alone, whole = [], []
        for _ in range(rounds):
            arguments = (folder, count, threads)
            alone.append(call(f"{module}:session_seconds", *arguments, threads=threads))
            whole.append(call(f"{module}:line_seconds", *arguments, threads=threads))
        between = statistics.median(whole) / LOAD
        waited = call(f"{module}:latencies", folder, count, threads, between, threads=threads)
    p50, p99 = (sorted(waited)[int(share * (len(waited) - 1))] for share in (0.5, 0.99))
    return {
        "session_ms": 1e3 * statistics.median(alone),
        "line_ms": 1e3 * statistics.median(whole),
        "overhead": statistics.median(whole) / statistics.median(alone) - 1,
        "p50_ms": p50,
        "p99_ms": p99,
        "rounds": {"session": alone, "line": whole},
    }


def _count(options: Namespace, size: int) -> int:
    count: int = 30 if options.small else options.count
    return count if size <= 256 else count // 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser("benchmarks.line.speed", __doc__, "line_speed", rounds=5, small=True)
    parser.add_argument(
        "--count", type=int, default=300, help="pictures of a round at 256²; a fifth at 1024²"
    )
    options = common.parse(parser, arguments)
    cases = {
        name: compare(size, kind, _count(options, size), options.threads, options.rounds)
        for name, (size, kind) in (SMALL if options.small else CASES).items()
    }
    heads = ["", "session ms", "line ms", "overhead", "p50 ms", "p99 ms", "p99 / p50"]
    rows = [
        [
            name,
            f"{found['session_ms']:.2f}",
            f"{found['line_ms']:.2f}",
            f"{found['overhead']:.1%}",
            f"{found['p50_ms']:.1f}",
            f"{found['p99_ms']:.1f}",
            f"{found['p99_ms'] / found['p50_ms']:.2f}",
        ]
        for name, found in cases.items()
    ]
    text = [*METHOD.splitlines(), "", *results.table(heads, rows)]
    facts = {"rounds": options.rounds, "pictures": options.count}
    results.write(options, "What the line adds to the session", text, cases, facts)


if __name__ == "__main__":
    main()

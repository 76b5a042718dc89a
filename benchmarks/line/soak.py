"""Many small frames through a watched folder: memory, descriptors, nothing lost, nothing twice.

``python -m benchmarks.line.soak --frames 200000`` writes ``benchmarks/results/line_soak.md`` and
``.json``. ``--broker HOST`` adds MQTT. It ends with code 1 where a goal is missed.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.line import running
from benchmarks.line.parts import write_detector, write_pictures

MOST_GROWTH = 5.0
"""MB of 10⁶ bytes, after the first tenth of the frames."""

WARM_UP = 50
"""Frames before the process is looked at."""

MOST_WAITING = 200
"""Frames in the watched folder."""

METHOD = """\
Small PNG files are renamed into a watched folder; the line inspects and deletes them, and sends
records and pictures to JSONL files, a folder and a SQLite database. Memory is the process's
resident set: growth is the mean of the last tenth minus that of the second.
"""


def soak(folder: Path, frames: int, size: int, threads: int, more: str) -> dict[str, Any]:
    """Put frames in, as fast as the line takes them, and look at the process meanwhile."""
    write_detector(folder / "part.safetensors", size, channels=4)
    write_pictures(folder / "pictures_to_put", size, "PNG", 20)
    contents = [path.read_bytes() for path in sorted((folder / "pictures_to_put").iterdir())]
    running.write_configuration(folder, threads, more)
    process = running.start(folder)
    looks: list[tuple[float, int]] = []
    rows = folder / "parts.sqlite"
    started = monotonic()
    try:
        for number in range(frames):
            running.put(folder, f"{number:07}.png", contents[number % len(contents)])
            if number == WARM_UP:  # what is opened once, on use, is no leak
                running.wait_until(lambda: running.parts_in(rows)[0] >= WARM_UP, 600)
            if number >= WARM_UP and number % max(1, frames // 200) == 0:
                running.wait_until(lambda: _waiting(folder) < MOST_WAITING, 600)
                looks.append(running.memory_and_files(process))
        running.wait_until(lambda: running.is_empty(folder), 600)
        seconds = monotonic() - started
        running.wait_until(lambda: running.parts_in(rows)[0] >= frames, 600)
    finally:
        running.stop(process)
    tenth = max(1, len(looks) // 10)
    early, late = looks[tenth : 2 * tenth] or looks, looks[-tenth:]
    count, different = running.parts_in(folder / "parts.sqlite")
    return {
        "frames": frames,
        "per_second": frames / seconds,
        "rows": count,
        "different": different,
        "memory_mb": [memory for memory, _ in looks],
        "growth_mb": _mean([m for m, _ in late]) - _mean([m for m, _ in early]),
        "descriptors": [files for _, files in looks],
        "more_descriptors": max(f for _, f in late) - max(f for _, f in early),
    }


def is_passed(found: dict[str, Any]) -> bool:
    """Whether every frame has one row, memory is flat and no descriptor leaks."""
    return (
        found["rows"] == found["different"] == found["frames"]
        and found["growth_mb"] <= MOST_GROWTH
        and found["more_descriptors"] <= 2
    )


def _waiting(folder: Path) -> int:
    return sum(1 for _ in (folder / "incoming").iterdir())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, and write the two files."""
    parser = common.parser("benchmarks.line.soak", __doc__, "line_soak")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64, help="side of the frames")
    parser.add_argument("--broker", help="HOST or HOST:PORT of an MQTT broker")
    options = common.parse(parser, arguments)
    folder = Path(tempfile.mkdtemp(prefix="pyramidflow-soak-"))
    found = soak(
        folder, options.frames, options.size, options.threads, running.mqtt(options.broker)
    )
    heads = ["frames", "a second", "rows", "different", "growth MB", "descriptors more"]
    row = [f"{found[key]:.6g}" for key in ("frames", "per_second", "rows", "different")]
    row += [f"{found['growth_mb']:.1f}", str(found["more_descriptors"])]
    text = [*METHOD.splitlines(), "", *results.table(heads, [row], texts=0)]
    results.write(options, "A line that runs for long", text, {"soak": found})
    if not is_passed(found):
        sys.exit(f"missed, see {options.output}; what the line left lies in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

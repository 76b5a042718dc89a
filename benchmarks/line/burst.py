"""Thousands of useless files in a watched folder: the line goes on, and its memory is bounded.

``python -m benchmarks.line.burst`` writes ``benchmarks/results/line_burst.md`` and ``.json``. It
ends with code 1 where a file has no record, the line ends, or memory grows beyond the limit.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread

import numpy as np
from PIL import Image

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.line import running
from benchmarks.line.parts import write_detector, write_pictures

MOST_GROWTH = 900.0
"""MB of 10⁶ bytes: the room for decoded pictures, and one huge picture in each thread's hand."""

METHOD = """\
All at once in a watched folder: garbage, empty files, halves of PNG and JPEG files, files that
announce 60,000 × 60,000 pixels, and now and then a picture of 6,000 × 6,000 (108 MB decoded). Then
a good picture, which has to be inspected. Growth is the most resident memory meanwhile minus that
before, in MB of 10⁶ bytes.
"""

HUGE = 6000
"""Side of the huge pictures, 108 MB decoded."""

HUGE_EVERY = 40
"""Sixfold, how many small files come between two huge ones."""


def useless(folder: Path) -> list[tuple[str, bytes]]:
    """Endings and contents: garbage, nothing, halves, huge ones, one that announces too much."""
    random = np.random.default_rng(0)
    write_pictures(folder / "whole", 200, "PNG", 1)
    write_pictures(folder / "whole", 200, "JPEG", 1)
    png = (folder / "whole" / "000000.png").read_bytes()
    jpeg = (folder / "whole" / "000000.jpg").read_bytes()
    huge = folder / "huge.png"
    Image.fromarray(np.zeros((HUGE, HUGE, 3), np.uint8)).save(huge, compress_level=1)
    announced = bytearray(png)
    announced[16:24] = (60_000).to_bytes(4, "big") * 2
    small = [
        ("png", random.bytes(10_000)),
        ("jpg", b""),
        ("png", png[: len(png) // 2]),
        ("jpg", jpeg[: len(jpeg) // 2]),
        ("png", bytes(announced)),
        ("tif", random.bytes(500)),
    ]
    return [("png", huge.read_bytes()), *small * HUGE_EVERY]


def burst(folder: Path, files: int, threads: int) -> tuple[int, float]:
    """Put files in at once; returns how many have a record, and the growth of memory in MB."""
    write_detector(folder / "part.safetensors", 64, channels=4)
    contents = useless(folder)
    running.write_configuration(folder, threads)
    process = running.start(folder)
    running.wait_until(lambda: running.is_logged(folder, "running:"), 300)
    before = running.memory_and_files(process)[0]
    most, ended = [before], Event()

    def watch() -> None:
        while not ended.wait(0.1) and process.poll() is None:
            most.append(running.memory_and_files(process)[0])

    watching = Thread(target=watch)
    watching.start()
    try:
        for number in range(files):
            ending, content = contents[number % len(contents)]
            (folder / "incoming" / f"{number:06}.{ending}").write_bytes(content)
        running.wait_until(lambda: running.parts_in(folder / "line.sqlite")[0] >= files, 1800)
        running.put(folder, "good.png", (folder / "whole" / "000000.png").read_bytes())
        running.wait_until(lambda: running.parts_in(folder / "line.sqlite")[0] > files, 60)
    finally:
        ended.set()
        watching.join()
        running.stop(process)
    return running.parts_in(folder / "line.sqlite")[1] - 1, max(most) - before


def main(arguments: Sequence[str] | None = None) -> None:
    """Burst, count, and write the two files."""
    parser = common.parser("benchmarks.line.burst", __doc__, "line_burst")
    parser.add_argument("--files", type=int, default=5000)
    options = common.parse(parser, arguments)
    folder = Path(tempfile.mkdtemp(prefix="pyramidflow-burst-"))
    recorded, growth = burst(folder, options.files, options.threads)
    cells = [f"{options.files}", f"{recorded}", f"{growth:.0f}", f"{MOST_GROWTH:.0f}"]
    heads = ["files", "with a record", "growth, MB", "limit, MB"]
    text = [*METHOD.splitlines(), "", *results.table(heads, [cells], texts=0)]
    found = {"files": options.files, "recorded": recorded, "growth_mb": growth}
    results.write(options, "Useless files in a watched folder", text, {"burst": found})
    if recorded != options.files or growth > MOST_GROWTH:
        sys.exit(f"missed, see {options.output}; what the line left lies in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

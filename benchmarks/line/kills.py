"""A line killed at random moments: every part exactly once in the database.

``python -m benchmarks.line.kills --kills 50`` ends with code 1 where a part is missing or twice.
``--broker HOST`` and ``--database URL`` add services, which may be stopped and started meanwhile.
"""

import random
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from benchmarks.line import running
from benchmarks.line.parts import write_detector, write_pictures

LONGEST = 3.0
"""Seconds from a line's first record to its kill."""


def killed(folder: Path, kills: int, frames: int, threads: int, more: str, seed: int) -> int:
    """Kill a line again and again while pictures come; returns how many were put in."""
    chosen = random.Random(seed)
    write_detector(folder / "part.safetensors", 64, channels=4)
    write_pictures(folder / "pictures_to_put", 64, "PNG", 20)
    contents = [path.read_bytes() for path in sorted((folder / "pictures_to_put").iterdir())]
    running.write_configuration(folder, threads, more)
    number = 0
    for _ in range(kills):
        process = running.start(folder)
        for _ in range(frames):
            running.put(folder, f"{number:07}.png", contents[number % len(contents)])
            number += 1
        before = running.parts_in(folder / "line.sqlite")[0]
        running.wait_until(
            lambda before=before: running.parts_in(folder / "line.sqlite")[0] > before, 300
        )
        time.sleep(chosen.uniform(0, LONGEST))
        process.kill()
        process.wait()
    process = running.start(folder)
    running.wait_until(lambda: running.parts_in(folder / "parts.sqlite")[0] >= number, 600)
    time.sleep(1)
    running.stop(process)
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, count, and say."""
    parser = ArgumentParser(prog="python -m benchmarks.line.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--frames", type=int, default=100, help="new ones before each kill")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--broker", help="host of an MQTT broker")
    parser.add_argument("--database", help="URL of a second database")
    options = parser.parse_args(arguments)
    more = f'[[sinks]]\nkind = "mqtt"\nhost = "{options.broker}"\n' if options.broker else ""
    if options.database:
        more += f'[[sinks]]\nkind = "database"\nname = "second"\nurl = "{options.database}"\n'
    folder = Path(tempfile.mkdtemp(prefix="pyramidflow-kills-"))
    put = killed(folder, options.kills, options.frames, options.threads, more, options.seed)
    found = {name: running.parts_in(folder / f"{name}.sqlite") for name in ("line", "parts")}
    print(f"{put} parts, {options.kills} kills; rows and different identities: {found}")
    if any(counts != (put, put) for counts in found.values()):
        sys.exit(f"missed; what the line left lies in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""A line killed at random moments: every part exactly once in the database.

``python -m benchmarks.line.kills`` writes ``benchmarks/results/line_kills.md`` and ``.json``. It
ends with code 1 where a part is missing or twice.
``--broker HOST`` and ``--database URL`` add services; ``--stop`` and ``--start`` are commands that
stop and start them, which it does before every other kill and after it.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.line import running
from benchmarks.line.parts import write_detector, write_pictures

LONGEST = 3.0
"""Seconds from a line's first record to its kill."""


METHOD = """\
The line inspects a watched folder while pictures come, and is killed with SIGKILL at random
moments; then it is started again. Where services are given, they are killed before every other
kill and started after it. At the end every part has to have one row, under one identity, in each
store.
"""


def killed(folder: Path, options: Namespace, more: str) -> int:
    """Kill a line again and again while pictures come; returns how many were put in."""
    chosen = random.Random(options.seed)
    write_detector(folder / "part.safetensors", 64, channels=4)
    write_pictures(folder / "pictures_to_put", 64, "PNG", 20)
    contents = [path.read_bytes() for path in sorted((folder / "pictures_to_put").iterdir())]
    running.write_configuration(folder, options.threads, more)
    number = 0
    for kill in range(options.kills):
        if kill % 2:
            _call(options.stop)
        process = running.start(folder)
        for _ in range(options.frames):
            running.put(folder, f"{number:07}.png", contents[number % len(contents)])
            number += 1
        before = running.parts_in(folder / "line.sqlite")[0]
        running.wait_until(
            lambda before=before: running.parts_in(folder / "line.sqlite")[0] > before, 300
        )
        time.sleep(chosen.uniform(0, LONGEST))
        process.kill()
        process.wait()
        if kill % 2:
            _call(options.start)
    process = running.start(folder)
    running.wait_until(lambda: running.parts_in(folder / "parts.sqlite")[0] >= number, 600)
    if options.database:
        running.wait_until(lambda: running.parts_at(options.database)[0] >= number, 600)
    time.sleep(1)
    running.stop(process)
    return number


def _call(command: str | None) -> None:
    if command:
        subprocess.run(command, shell=True, check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, count, and write the two files."""
    parser = common.parser("benchmarks.line.kills", __doc__, "line_kills")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--frames", type=int, default=100, help="new ones before each kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--broker", help="HOST or HOST:PORT of an MQTT broker")
    parser.add_argument("--database", help="URL of a second database")
    parser.add_argument("--stop", help="command that stops the services")
    parser.add_argument("--start", help="command that starts them")
    options = common.parse(parser, arguments)
    more = running.mqtt(options.broker)
    if options.database:
        more += f'[[sinks]]\nkind = "database"\nname = "second"\nurl = "{options.database}"\n'
    folder = Path(tempfile.mkdtemp(prefix="pyramidflow-kills-"))
    put = killed(folder, options, more)
    found = {
        "the line's own store": running.parts_in(folder / "line.sqlite"),
        "SQLite": running.parts_in(folder / "parts.sqlite"),
    }
    if options.database:
        found[options.database.partition(":")[0]] = running.parts_at(options.database)
    rows = [[name, f"{put}", *map(str, counts)] for name, counts in found.items()]
    heads = ["store", "parts", "rows", "different identities"]
    text = [*METHOD.splitlines(), "", *results.table(heads, rows)]
    cases = {"kills": {"kills": options.kills, "parts": put, "stores": found}}
    facts = {"kills": options.kills, "services stopped and started": bool(options.stop)}
    results.write(options, "A line that is killed", text, cases, facts)
    if any(counts != (put, put) for counts in found.values()):
        sys.exit(f"missed, see {options.output}; what the line left lies in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

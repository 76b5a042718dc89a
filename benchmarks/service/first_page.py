"""How long it takes from the command to the first page, in a process that has just begun.

``python -m benchmarks.service.first_page`` writes ``benchmarks/results/service_first_page.md`` and
``.json``.
"""

import http.client
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.line.parts import write_detector
from benchmarks.service.load import median
from benchmarks.service.running import served, wait_until_ready

METHOD = """\
From the start of `pyramidflow serve part.safetensors` to the last byte of the page, and to the
first 200 of `/ready`: the station can inspect. First: the store is made, and the machine's costs
are measured; again: both are there. Each is a process of its own; the program's files are in the
system's cache, as after an installation. Medians of the rounds; slowest: of all first pages.
"""

SIZES = (256, 1024)


def seconds(folder: Path, threads: int) -> tuple[float, float]:
    """From the command to the page, and to the station that can inspect."""
    started = time.perf_counter()
    arguments = [str(folder / "part.safetensors"), "--port", "0"]
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    with served(arguments, folder / "log", threads, cache) as found:
        connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        if answer.status != 200 or b"<h1>Live</h1>" not in answer.read():
            raise RuntimeError(f"the page answers {answer.status}")
        page = time.perf_counter() - started
        wait_until_ready(found)
        return page, time.perf_counter() - started


def compare(size: int, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, without a store and with one."""
    found: dict[str, list[float]] = {
        name: [] for name in ("first", "again", "ready first", "ready again")
    }
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_detector(folder / "part.safetensors", size)
            for name in ("first", "again"):
                page, ready = seconds(folder, threads)
                found[name].append(page)
                found[f"ready {name}"].append(ready)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.service.first_page", __doc__, "service_first_page", rounds=5, small=True
    )
    options = common.parse(parser, arguments)
    sizes = (32,) if options.small else SIZES
    cases = {f"{size}×{size}": compare(size, options.threads, options.rounds) for size in sizes}
    heads = ["", *(f"{name}, s" for name in ("first", "again", "ready first", "ready again"))]
    heads.append("slowest, s")
    rows = [
        [
            name,
            *(f"{median(values):.2f}" for values in found.values()),
            f"{max(*found['first'], *found['again']):.2f}",
        ]
        for name, found in cases.items()
    ]
    text = [*METHOD.splitlines(), "", *results.table(heads, rows)]
    results.write(options, "From the command to the page", text, cases, {"rounds": options.rounds})


if __name__ == "__main__":
    main()

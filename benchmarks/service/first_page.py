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
from benchmarks.service.running import served

METHOD = """\
From the start of `pyramidflow serve part.safetensors` to the last byte of the page. First: the
store is made, and the machine's costs are measured; again: both are there. Each is a process of its
own; the program's files are in the system's cache, as after an installation. Medians
of the rounds.
"""

SIZES = (256, 1024)


def seconds(folder: Path, threads: int) -> float:
    """From the command to the page."""
    started = time.perf_counter()
    arguments = [str(folder / "part.safetensors"), "--port", "0"]
    cache = {"XDG_CACHE_HOME": str(folder / "cache")}
    with served(arguments, folder / "log", threads, cache) as found:
        connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        if answer.status != 200 or b"<h1>Live</h1>" not in answer.read():
            raise RuntimeError(f"the page answers {answer.status}")
        return time.perf_counter() - started


def compare(size: int, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, without a store and with one."""
    found: dict[str, list[float]] = {"first": [], "again": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_detector(folder / "part.safetensors", size)
            for values in found.values():
                values.append(seconds(folder, threads))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.service.first_page", __doc__, "service_first_page", rounds=5, small=True
    )
    options = common.parse(parser, arguments)
    sizes = (32,) if options.small else SIZES
    cases = {f"{size}×{size}": compare(size, options.threads, options.rounds) for size in sizes}
    heads = ["", "first, s", "again, s", "slowest, s"]
    rows = [
        [
            name,
            *(f"{median(values):.2f}" for values in found.values()),
            f"{max(max(values) for values in found.values()):.2f}",
        ]
        for name, found in cases.items()
    ]
    text = [*METHOD.splitlines(), "", *results.table(heads, rows)]
    results.write(options, "From the command to the page", text, cases, {"rounds": options.rounds})


if __name__ == "__main__":
    main()

"""Bytes and time of every operation on this CPU, per backend, beside a plain copy.

``python -m benchmarks.operations`` writes ``benchmarks/results/ops_cpu.md`` and ``.json``.

An operation that moves memory cannot be faster than a copy of as many bytes. For each, the table
gives the least bytes it must move (every input read once, every output written once), the bytes
that the kernel moves (its second passes included, and only what it reads: the gradient of a
coupling needs no ``t``), and the GB/s of the least bytes as a share of a copy's. All candidates run
in one process: the kernel and the copy in turns, from empty caches, at several places in memory,
as their speed depends on them; then plain PyTorch and its compiled form in turns. The share is the
median over the places, with its least and its largest value.
Not all four: the system takes back the gigabytes that plain PyTorch frees while the next one runs.
The kernels and the copy write to memory that is already mapped, so that the system's page faults
are not measured; plain PyTorch and the convolutions allocate as they do. Memory moves whole lines
of 64 bytes: contiguous, the down block's every second float of a row costs all of the row's bytes,
which count as moved, and its every second row costs more than a row of neighbours: the processor's
prefetcher does not skip rows. The convolutions run at a quarter of the size;
arithmetic bounds them, and what their transforms move is not counted. On a machine that others use
too, ``--processor-time`` counts the time that this process had.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.turns import in_turns, medians
from benchmarks.operations.cases import LAYOUTS, Case, candidate, cases, least_bytes

LEAST_EVICTED_BYTES = 64 << 20
PLACES = 8
SHORT_BYTES, MORE_ROUNDS = 32 << 20, 4
METHOD = f"""\
Share of copy: time of a plain copy (`copy_`) of the least bytes over the kernel's time;
median (least to largest) of {PLACES} places in memory.
Moved: the same for the bytes that the kernel moves.
"""


def evicted_bytes() -> int:
    """Twice the largest cache of this machine: what is written before a run to empty them all."""
    largest = LEAST_EVICTED_BYTES // 2
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        largest = max(largest, int(file.read_text().strip().removesuffix("K")) << 10)
    return 2 * largest


@cache
def other_memory() -> Tensor:
    """Written before a run; kept, as the system takes back what is freed during the next one."""
    return torch.zeros(evicted_bytes() // 4)


def seconds(
    candidates: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Times of each candidate, measured in turns, each from empty caches."""
    return in_turns(candidates, rounds, clock, before=partial(other_memory().add_, 1))


def elsewhere(case: Case) -> Case:
    """The same case with its tensors, in lists too, in other memory."""
    return copy.deepcopy(case)


def beside_copies(
    case: Case, least: int, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Median times of a kernel and of a copy of ``least`` bytes, half of them read, half written.

    One value for each of the places that both have in memory.
    """
    times: dict[str, list[float]] = {"cpu": [], "copy": []}
    places = []  # kept, so that each kernel and each copy has its own
    for _ in range(PLACES):
        source, target = torch.randn(least // 8), torch.randn(least // 8)
        candidates = {
            "cpu": candidate(elsewhere(case), "cpu"),
            "copy": partial(target.copy_, source),
        }
        places.append(candidates)
        for name, values in seconds(candidates, rounds, clock).items():
            times[name].append(statistics.median(values))
    return times


def measure(
    case: Case, rounds: int, with_compiled: bool, clock: Callable[[], float]
) -> dict[str, object]:
    """One row of the table."""
    least = least_bytes(case, candidate(case, "cpu")())
    # What takes a millisecond is at the mercy of what the system does in that one.
    short = case.bound == "memory" and least < SHORT_BYTES
    measured = beside_copies(case, least, rounds * (MORE_ROUNDS if short else 1), clock)
    names = ("reference", "compiled") if with_compiled else ("reference",)
    try:
        measured |= seconds({name: candidate(case, name) for name in names}, rounds, clock)
    except Exception as error:
        if not with_compiled:
            raise
        print(f"{case.name}: does not compile: {type(error).__name__}", file=sys.stderr)
        return measure(case, rounds, False, clock)
    times = medians(measured)
    shares = [theirs / ours for theirs, ours in zip(measured["copy"], measured["cpu"], strict=True)]
    share = statistics.median(shares)
    return {
        "case": case.name,
        "bound": case.bound,
        "least_bytes": least,
        "kernel_bytes": round(least * case.passes),
        "milliseconds": {name: 1e3 * value for name, value in times.items()},
        "gigabytes_per_second": {name: least / value / 1e9 for name, value in times.items()},
        "share_of_copy": share,
        "share_of_copy_range": [min(shares), max(shares)],
        "moved_share_of_copy": case.passes * share,
    }


def tables(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Groups as Markdown tables."""
    heads = ("operation", "bound", "least MB", "moved MB", "cpu ms", "reference ms", "compiled ms")
    lines = []
    for name, rows in groups.items():
        cells = map(_cells, rows)
        lines += ["", f"## {name}", ""]
        lines += results.table([*heads, "GB/s", "share of copy", "moved"], cells, texts=2)
    return lines


def _cells(row: dict[str, Any]) -> list[str]:
    ms, speed = row["milliseconds"], row["gigabytes_per_second"]
    low, high = (round(100 * share) for share in row["share_of_copy_range"])
    return [
        row["case"],
        row["bound"],
        f"{row['least_bytes'] / 1e6:.0f}",
        f"{row['kernel_bytes'] / 1e6:.0f}",
        f"{ms['cpu']:.1f}",
        f"{ms['reference']:.1f}",
        f"{ms['compiled']:.1f}" if "compiled" in ms else "–",
        f"{speed['cpu']:.1f}",
        f"{row['share_of_copy']:.0%} ({low} to {high})",
        f"{row['moved_share_of_copy']:.0%}",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the two files."""
    parser = common.parser("benchmarks.operations", __doc__, "ops_cpu", rounds=5)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--only", default="", help="part of the operations' names")
    parser.add_argument("--processor-time", action="store_true", help="one thread's own time")
    options = common.parse(parser, arguments)
    clock = time.process_time if options.processor_time else time.perf_counter
    if options.processor_time:
        options.threads = 1
    torch.set_num_threads(options.threads)
    groups: dict[str, list[dict[str, Any]]] = {}
    for layout, memory_format in LAYOUTS.items():
        name = f"{options.channels} channels, {options.size}×{options.size}, {layout}"
        rows = groups.setdefault(name, [])
        for case in cases(options.channels, options.size, memory_format):
            if options.only in case.name:
                rows.append(measure(case, options.rounds, not options.no_compile, clock))
                print(layout, case.name, f"{rows[-1]['share_of_copy']:.0%}", file=sys.stderr)
    written = {"written before each run": f"{evicted_bytes() >> 20} MB"}
    text = [*METHOD.splitlines(), *tables(groups)]
    results.write(options, "Operations on the CPU", text, groups, written)


if __name__ == "__main__":
    main()

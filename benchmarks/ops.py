"""Bytes and time of every operation on this CPU, per backend, beside a plain copy.

``python -m benchmarks.ops`` writes ``benchmarks/results/ops_cpu.md`` and ``.json``.

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

import argparse
import copy
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation, backend_reference, dispatch

RESULTS = Path(__file__).parent / "results"
LEAST_EVICTED_BYTES = 64 << 20
PLACES = 8
SHORT_BYTES, MORE_ROUNDS = 32 << 20, 4
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """An operation with its arguments, and the tensors it must touch.

    Attributes:
        name: operation and mode.
        op: name in the backends.
        arguments: what it is called with.
        passes: bytes that the kernel moves over the least bytes.
        bound: ``"memory"``, or ``"arithmetic"`` where the processor's units are the limit.
    """

    name: str
    op: str
    arguments: tuple
    passes: float = 1.0
    bound: str = "memory"


def cases(channels: int, size: int, layout: torch.memory_format) -> list[Case]:
    """Every operation at ``size × size`` with one sample of ``channels`` channels."""

    def tensor(c: int, scale: float = 1.0) -> Tensor:
        side = int(size * scale)
        return torch.randn(1, c, side, side).contiguous(memory_format=layout)

    x, coarse, params = tensor(channels), tensor(channels, 0.5), tensor(2 * channels)
    wide, small = tensor(2 * channels), tensor(channels, 0.5)
    weight = torch.linalg.qr(torch.randn(channels, channels)).Q.contiguous()
    pixel = torch.randn(1, 1, size, size) / 9
    log_det, nothing = torch.ones(1), torch.empty(0, dtype=torch.uint8)
    index = torch.randint(0, 4, coarse.shape, dtype=torch.uint8).contiguous(memory_format=layout)
    cvn, svn = ("cvn", "sample", 2.0), ("svn", "sample", 2.0)
    pixel_taken, channel_taken = (
        backend_reference.affine_coupling(x, params, None, *kind)[1] for kind in (cvn, svn)
    )
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    rgb = torch.tensor([0.4, 0.5, 0.6])
    backward = (x, log_det, x, params)
    # Lines of the down block's input, result, parameters and mean, over the values that it uses.
    lines = 1 + 1 + (4 if layout is torch.contiguous_format else 2) + 2 / channels
    down_passes = lines / (1 + 1 + 2 + 1 / channels)
    # A level of the network, where its convolutions take almost all of the time.
    level, hidden, below = (
        tensor(channels, 1 / 4),
        tensor(2 * channels, 1 / 4),
        tensor(channels, 1 / 8),
    )
    kernel = torch.randn(2 * channels, 2 * channels, 7, 7) / (7 * (2 * channels) ** 0.5)
    level_mean = pixel[:, :, : level.shape[2], : level.shape[3]].contiguous()
    return [
        Case("pyramid_down", "pyramid_down", (x, "nearest")),
        Case("pyramid_down, max", "pyramid_down", (x, "max")),
        Case(
            "pyramid_down backward",
            "pyramid_down_backward",
            (coarse, nothing, size, size, "nearest"),
        ),
        Case(
            "pyramid_down backward, max",
            "pyramid_down_backward",
            (coarse, index, size, size, "max"),
        ),
        Case("pyramid_residual", "pyramid_residual", (x, coarse)),
        Case("pyramid_merge", "pyramid_merge", (coarse, x)),
        Case("pyramid_up backward", "pyramid_up_backward", (x,)),
        Case("affine_coupling, evaluation", "affine_coupling", (x, params, pixel, *cvn)),
        Case("affine_coupling, CVN training", "affine_coupling", (x, params, None, *cvn)),
        Case("affine_coupling, SVN training", "affine_coupling", (x, params, None, *svn), 5 / 4),
        Case(
            "affine_coupling, down block",
            "affine_coupling",
            (small, wide, pixel, *cvn),
            down_passes,
        ),
        Case(
            "affine_coupling backward, CVN",
            "affine_coupling_backward",
            (*backward, pixel_taken, False, *cvn),
            6 / 7,
        ),
        Case(
            "affine_coupling backward, SVN",
            "affine_coupling_backward",
            (*backward, channel_taken, False, *svn),
            (6 + 3) / 7,
        ),
        Case("affine_coupling_inverse", "affine_coupling_inverse", (x, params, pixel, *cvn)),
        Case(
            "affine_coupling_inverse backward, CVN",
            "affine_coupling_inverse_backward",
            (*backward, pixel_taken, False, *cvn),
        ),
        Case("invertible_conv1x1", "invertible_conv1x1", (x, weight), 1, "arithmetic"),
        Case(
            "invertible_conv1x1 backward",
            "invertible_conv1x1_backward",
            (x, x, weight),
            1,
            "arithmetic",
        ),
        Case(
            "coupling_conv1x1, evaluation",
            "coupling_conv1x1",
            (x, params, pixel, weight, *cvn),
            1,
            "arithmetic",
        ),
        Case(
            "coupling_conv1x1 backward, CVN",
            "coupling_conv1x1_backward",
            (x, log_det, x, params, pixel_taken, False, weight, *cvn),
            1,
            "arithmetic",
        ),
        Case("conv2d", "conv2d", (hidden, kernel, "none", -1), 1, "arithmetic"),
        Case(
            "conv2d, up",
            "conv2d",
            (below, kernel[:, :channels].contiguous(), "up", -1),
            1,
            "arithmetic",
        ),
        Case("conv2d, down", "conv2d", (hidden, kernel, "down", -1), 1, "arithmetic"),
        Case(
            "conv2d backward",
            "conv2d_backward",
            (hidden, hidden, kernel, "none", -1, True, True),
            1,
            "arithmetic",
        ),
        Case(
            "conv_coupling_conv1x1",
            "conv_coupling_conv1x1",
            (level, hidden, kernel, level_mean, weight, "none", 2.0),
            1,
            "arithmetic",
        ),
        Case(
            "conv_coupling_conv1x1, down block",
            "conv_coupling_conv1x1",
            (below, hidden, kernel, level_mean[:, :, ::2, ::2], weight, "down", 2.0),
            1,
            "arithmetic",
        ),
        Case("anomaly_map", "anomaly_map", ([x, coarse], [x + 1, coarse - 1], None, None)),
        Case(
            "anomaly_map, spread and shift",
            "anomaly_map",
            (
                [x, coarse],
                [x + 1, coarse - 1],
                [x[:1].abs(), coarse[:1].abs()],
                [y.mean((2, 3), keepdim=True) for y in (x, coarse)],
            ),
        ),
        Case("anomaly_map backward", "anomaly_map_backward", (pixel[0], [x], [x + 1])),
        Case("normalize_image", "normalize_image", (image, rgb, rgb, torch.float32)),
    ]


def least_bytes(case: Case, results: object) -> int:
    """Every input once and every output once; of resized parameters only what is used."""
    total = 0
    for value in [*flat(case.arguments), *flat(results)]:
        total += value.numel() * value.element_size()
    if case.name == "affine_coupling, down block":
        _, params, mean = case.arguments[:3]
        total -= 3 * (params.numel() + mean.numel()) * 4 // 4
    return total


def flat(value: object) -> list[Tensor]:
    """Tensors in nested sequences."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in flat(item)]
    return []


def moved(value: Any, device: str) -> Any:
    """Tensors on the device, in nested sequences too."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(v, device) for v in value)
    return value


class WarmMemory:
    """Results of earlier calls, handed out again in the same order."""

    def __init__(self) -> None:
        self.allocate = allocation.empty
        self.tensors: list[Tensor] = []
        self.next = 0

    def empty(self, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """As :func:`pyramidflow.ops.allocation.empty`."""
        if self.next == len(self.tensors):
            self.tensors.append(self.allocate(shape, like, dtype))
        self.next += 1
        return self.tensors[self.next - 1]

    def run(self, function: Callable[[], object]) -> object:
        """Call ``function`` with its results in this memory."""
        self.next = 0
        allocation.empty = self.empty
        try:
            return function()
        finally:
            allocation.empty = self.allocate


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


def candidate(case: Case, name: str) -> Callable[[], object]:
    """What runs a case in one backend; ``"compiled"`` is the reference, compiled by PyTorch."""
    function = getattr(dispatch.load("reference" if name == "compiled" else name), case.op)
    if name == "compiled":
        function = torch.compile(function)
    if name != "cpu":
        return lambda: function(*case.arguments)
    memory = WarmMemory()
    return lambda: memory.run(lambda: function(*case.arguments))


def seconds(
    candidates: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Times of each candidate, measured in turns, each from empty caches."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    other = other_memory()
    for run in candidates.values():
        run()
    for _ in range(rounds):
        for name, run in candidates.items():
            other.add_(1)
            start = clock()
            run()
            times[name].append(clock() - start)
    return times


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
    times = {name: statistics.median(values) for name, values in measured.items()}
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


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "library": dict(dispatch.status("cpu").details),
        "commit": commit(),
        "command": " ".join(["python -m benchmarks.ops", *sys.argv[1:]]),
        "load_average": Path("/proc/loadavg").read_text().split()[:3],
    }


def commit() -> str:
    """Commit of this tree; empty where it was copied without its history, or git is not there."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()


def table(report: dict) -> str:
    """The report as Markdown."""
    lines = ["# Operations on the CPU", ""]
    lines += [f"- {key}: {value}" for key, value in report["machine"].items()]
    lines += [
        "",
        "Share of copy: time of a plain copy (`copy_`) of the least bytes over the kernel's time;",
        f"median (least to largest) of {PLACES} places in memory.",
        "Moved: the same for the bytes that the kernel moves.",
    ]
    for group in report["groups"]:
        lines += [
            "",
            f"## {group['channels']} channels, {group['size']}×{group['size']}, {group['layout']}",
            "",
            "| operation | bound | least MB | moved MB | cpu ms | reference ms | compiled ms "
            "| GB/s | share of copy | moved |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in group["rows"]:
            ms, speed = row["milliseconds"], row["gigabytes_per_second"]
            low, high = (round(100 * share) for share in row["share_of_copy_range"])
            compiled = f"{ms['compiled']:.1f}" if "compiled" in ms else "–"
            lines.append(
                f"| {row['case']} | {row['bound']} | {row['least_bytes'] / 1e6:.0f} "
                f"| {row['kernel_bytes'] / 1e6:.0f} | {ms['cpu']:.1f} | {ms['reference']:.1f} "
                f"| {compiled} | {speed['cpu']:.1f} | {row['share_of_copy']:.0%} "
                f"({low} to {high}) | {row['moved_share_of_copy']:.0%} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the two files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--only", default="", help="part of the operations' names")
    parser.add_argument("--processor-time", action="store_true", help="one thread's own time")
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    if options.processor_time:
        torch.set_num_threads(1)
    groups = []
    for layout, memory_format in LAYOUTS.items():
        rows = []
        for case in cases(options.channels, options.size, memory_format):
            if options.only in case.name:
                rows.append(measure(case, options.rounds, not options.no_compile, clock))
                print(layout, case.name, f"{rows[-1]['share_of_copy']:.0%}", file=sys.stderr)
        groups.append(
            {
                "layout": layout,
                "channels": options.channels,
                "size": options.size,
                "rows": rows,
            }
        )
    written = {"written before each run": f"{evicted_bytes() >> 20} MB"}
    report = {"machine": machine() | written, "groups": groups}
    if options.only:
        print(table(report))
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ops_cpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "ops_cpu.md").write_text(table(report))


if __name__ == "__main__":
    main()

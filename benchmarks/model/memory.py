"""Memory and time of a training step against the depth of the flow, reversible beside plain.

``python -m benchmarks.model.memory`` writes ``benchmarks/results/memory.md`` and ``.json``.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call, peak_memory
from benchmarks.harness.subjects import images, optimised, randomise
from benchmarks.harness.turns import timed
from pyramidflow import PyramidFlow
from pyramidflow.data.preprocessing import network_input
from pyramidflow.spec import Preprocessing
from pyramidflow.training import ContrastLoss, Recipe
from pyramidflow.training.memory import Mode, activation_bytes, free_bytes, network_of

METHOD = """\
The recipe's step on a batch of two images that is in memory: loss, gradients, clipping, Adam. Every
row is a process of its own. Peak memory is the whole process's, with weights, gradients and Adam's
state; above the start: without the interpreter, PyTorch and the batch. On a GPU it is what
PyTorch's allocator held. Seconds: of the last of {steps} steps; the first one allocates Adam's
state; of the processors: what all threads together computed, which other programs do not change
much. The paper's figure, on a GPU, at 256×256, C = 24, L = 8: reversible 2.7 GB at depth 2 and 3.7
GB at depth 64, plain 2.6 and 11.8 GB.
"""

DEPTHS = (2, 4, 8, 16, 32, 64)

SHARE = 0.8
"""Of the free memory: what a row may be expected to take; more is not tried."""


@dataclass(frozen=True)
class Point:
    """What is measured.

    Attributes:
        stacks: depth of the flow.
        mode: ``"plain"`` or ``"reversible"``.
        encoder: ``"lift"`` or a ResNet, whose weights are random.
        size: side of the images.
        channels: of the baseline; a ResNet has its own.
        levels: of the pyramid.
    """

    stacks: int
    mode: Mode
    encoder: str = "lift"
    size: int = 256
    channels: int = 24
    levels: int = 8


def step_memory(point: Point, device: torch.device, steps: int) -> dict[str, Any]:
    """Take steps in this process: seconds of the last one, and megabytes."""
    batch = network_input(
        [pixels.numpy() for pixels in images(Recipe().batch_size, point.size)],
        Preprocessing(point.size),
        device,
    )
    start = peak_memory()
    network = _network(point).to(device)
    loss = ContrastLoss()
    seen = network_of(network.train(), point.mode)
    step = optimised(network, lambda: loss(seen, batch))

    def run() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(steps - 1):
        run()
    before = time.process_time()
    seconds = timed(run)
    processor = time.process_time() - before
    activations = activation_bytes(network, network.level_size(batch), len(batch)) / 1e6
    found = {
        "seconds": seconds,
        "processor_seconds": processor,
        "start": start,
        "peak": peak_memory(),
        "activations": activations,
    }
    if device.type == "cuda":
        found |= {"start": 0.0, "peak": torch.cuda.max_memory_allocated(device) / 1e6}
    return found


def _network(point: Point) -> PyramidFlow:
    torch.manual_seed(0)
    channels = point.channels if point.encoder == "lift" else None
    network = PyramidFlow(channels, point.levels, point.stacks, encoder=point.encoder)
    randomise(list(network.flow.blocks))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("conv2.weight"):  # so that a deep flow does not grow beyond float32
                parameter *= 0.1
    return network


def measure(point: Point, device: str, threads: int, steps: int) -> dict[str, Any]:
    """One row, from a new process, or why there is none."""
    free, needed = free_bytes(torch.device(device)), _expected_bytes(point)
    if free is not None and needed > SHARE * free:
        reason = f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        return asdict(point) | {"missing": f"not measured: {reason}"}
    function = "benchmarks.model.memory:row_of"
    found = call(function, asdict(point), device, threads, steps, threads=threads)
    return asdict(point) | found


def row_of(point: dict[str, Any], device: str, threads: int, steps: int) -> dict[str, Any]:
    """What a row's process does."""
    torch.set_num_threads(threads)
    return step_memory(Point(**point), torch.device(device), steps)


def _expected_bytes(point: Point) -> int:
    network = _network(point)
    scale = 1 if point.encoder == "lift" else 4
    side = network.pyramid.padded_size([point.size // scale] * 2)
    of_training = 4 * sum(p.numel() * p.element_size() for p in network.parameters())
    activations = activation_bytes(network, side, Recipe().batch_size)
    return of_training + (activations if point.mode == "plain" else 0)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as a Markdown table."""
    heads = ["", "stacks", "peak memory", "above the start", "seconds", "of the processors"]
    return results.table(heads, map(_cells, rows))


def _cells(row: dict[str, Any]) -> list[str]:
    begin = [row["mode"], str(row["stacks"])]
    if "missing" in row:
        return [*begin, row["missing"]]
    peak, above = row["peak"] / 1e3, (row["peak"] - row["start"]) / 1e3
    times = f"{row['seconds']:.2f}", f"{row['processor_seconds']:.2f}"
    return [*begin, f"{peak:.2f} GB", f"{above:.2f} GB", *times]


def points(depths: Sequence[int], small: bool) -> dict[str, list[Point]]:
    """What is measured, by the heading that it stands under."""
    modes: tuple[Mode, ...] = ("reversible", "plain")
    if small:
        tiny: dict[str, Any] = {"size": 32, "channels": 4, "levels": 3}
        return {"tiny": [Point(stacks, mode, **tiny) for stacks in (1, 2) for mode in modes]}
    resnet: dict[str, Any] = {"encoder": "resnet18", "size": 1024, "levels": 4}
    return {
        "256×256, C = 24, L = 8": [Point(stacks, mode) for stacks in depths for mode in modes],
        "ResNet18, 1024×1024, L = 4": [Point(4, mode, **resnet) for mode in modes],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser("benchmarks.model.memory", __doc__, "memory", small=True)
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--steps", type=int, default=2, help="of each row")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = common.parse(parser, arguments)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, wanted in points(options.depths, options.small).items():
        found[name] = []
        for point in wanted:
            row = measure(point, options.device, options.threads, options.steps)
            found[name].append(row)
            print(table([row])[-1], file=sys.stderr, flush=True)
    text = METHOD.format(steps=options.steps).splitlines()
    for name, rows in found.items():
        text += ["", f"## {name}", "", *table(rows)]
    title = "Memory of a training step against the depth of the flow"
    results.write(options, title, text, found, {"device": options.device})


if __name__ == "__main__":
    main()

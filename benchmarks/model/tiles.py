"""An image whose buffers a memory budget does not hold: peak memory and time, in tiles and whole.

``python -m benchmarks.model.tiles`` makes a baseline detector for images of 4096×4096, untrained
but with running means and a template of their usual sizes, and writes
``benchmarks/results/tiles.md`` and ``.json``. Two processes of their own then load it and inspect
one picture file: one within 4 GB, one without a budget. Their maps are compared.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call, peak_memory
from benchmarks.harness.subjects import detector, images
from pyramidflow import Detector
from pyramidflow.runtime.cpu import CpuRuntime, TiledRuntime

THRESHOLD = 1e9
"""So that no region is found: random weights would make thousands of them."""


METHOD = """\
Baseline (no encoder, 16 channels, 4 levels, 4 stacks, CVN), untrained, random weights, means and
template. A process of its own imports the library, loads the file and inspects one PNG file; MB of
10⁶ bytes, the process's peak so far (VmHWM). With a load average above the threads other programs
ran too: beside the wall time stands the processor's.
"""


def measure(name: str, budget: int | None, threads: int, output: str) -> dict[str, Any]:
    """Load, prepare and inspect, in this process."""
    torch.set_num_threads(threads)
    folder = Path(name)
    found: dict[str, Any] = {"imported": peak_memory()}
    loaded = Detector.load(folder / "detector.safetensors", device="cpu")
    found["loaded"] = peak_memory()
    start = time.perf_counter()
    runtime = loaded.prepare(threads=threads, memory_budget=budget).runtime
    assert isinstance(runtime, CpuRuntime | TiledRuntime)
    found["prepare_seconds"] = time.perf_counter() - start
    found["plan"] = runtime.plan.explain()
    start, processor = time.perf_counter(), time.process_time()
    inspection = loaded.inspect(folder / "image.png")
    found["seconds"] = time.perf_counter() - start
    found["processor_seconds"] = time.process_time() - processor
    found["peak"] = peak_memory()
    np.save(output, inspection.anomaly_map)
    return found


def compare(size: int, budget: int, threads: int) -> tuple[dict[str, dict[str, Any]], float]:
    """What both processes find, and the relative difference of their maps."""
    rows, maps = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = detector("lift", size, channels=16)
        made.threshold = THRESHOLD
        made.save(folder / "detector.safetensors")
        pixels = images(1, size)[0].numpy()
        Image.fromarray(pixels).save(folder / "image.png", compress_level=1)
        for row, allowed in (("within the budget", budget), ("without one", None)):
            file = folder / f"{len(maps)}.npy"
            function = "benchmarks.model.tiles:measure"
            rows[row] = call(function, name, allowed, threads, str(file), threads=threads)
            maps.append(np.load(file).astype(np.float64))
    return rows, float(np.linalg.norm(maps[0] - maps[1]) / np.linalg.norm(maps[1]))


def text(rows: dict[str, dict[str, Any]], difference: float) -> list[str]:
    """The measurements as Markdown."""
    heads = ["", "imported", "loaded", "peak", "prepare s", "inspect s", "processor s"]
    memory = ("imported", "loaded", "peak")
    seconds = ("prepare_seconds", "seconds", "processor_seconds")
    cells = [
        [name, *(f"{row[key]:.0f}" for key in memory), *(f"{row[key]:.1f}" for key in seconds)]
        for name, row in rows.items()
    ]
    lines = results.table(heads, cells)
    lines += ["", f"Relative difference of the two maps: {difference:.1e}.", ""]
    for name, row in rows.items():
        plan = row["plan"].splitlines()
        kept = [line for line in plan[:1] if "tiles" in line] + plan[-2:]
        lines += [f"Plan, {name}:", "", *(f"    {line}" for line in kept), ""]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both processes, and write the two files."""
    parser = common.parser("benchmarks.model.tiles", __doc__, "tiles")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--budget", type=int, default=4000, help="in MB")
    options = common.parse(parser, arguments)
    rows, difference = compare(options.size, options.budget * 1_000_000, options.threads)
    found = [*METHOD.splitlines(), "", *text(rows, difference)]
    title = f"One image of {options.size}×{options.size} within {options.budget} MB"
    results.write(options, title, found, rows | {"relative difference": difference})
    print(*found, sep="\n")


if __name__ == "__main__":
    main()

"""An image whose buffers a memory budget does not hold: peak memory and time, in tiles and whole.

``python -m benchmarks.tiles`` makes a baseline detector for images of 4096×4096, untrained but with
running means and a template of their usual sizes, and writes ``benchmarks/results/tiles.md``. Two
processes of their own then load it and inspect one picture file: one within 4 GB, one without a
budget. Their maps are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.ops import machine
from benchmarks.peer_models import peak_memory
from benchmarks.subjects import detector, images
from pyramidflow import Detector
from pyramidflow.runtime import CpuRuntime, TiledRuntime

RESULTS = Path(__file__).parent / "results" / "tiles.md"

THRESHOLD = 1e9
"""So that no region is found: random weights would make thousands of them."""


def measure(folder: Path, budget: int | None, threads: int, output: Path) -> dict[str, Any]:
    """Load, prepare and inspect, in this process."""
    torch.set_num_threads(threads)
    found: dict[str, Any] = {"imported": peak_memory()}
    loaded = Detector.load(folder / "detector.safetensors", device="cpu")
    found["loaded"] = peak_memory()
    start = time.perf_counter()
    engine = loaded.prepare(threads=threads, memory_budget=budget).runtime
    assert isinstance(engine, CpuRuntime | TiledRuntime)
    found["prepare_seconds"] = time.perf_counter() - start
    found["plan"] = str(engine.plan)
    start, processor = time.perf_counter(), time.process_time()
    inspection = loaded.inspect(folder / "image.png")
    found["seconds"] = time.perf_counter() - start
    found["processor_seconds"] = time.process_time() - processor
    found["peak"] = peak_memory()
    np.save(output, inspection.anomaly_map)
    return found


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """What :func:`measure` finds in a new process."""
    command = [sys.executable, "-m", "benchmarks.tiles", *arguments]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def report(side: int, budget: int, rows: dict[str, dict[str, Any]], difference: float) -> str:
    """The measurements as Markdown."""
    lines = [f"# One image of {side}×{side} within {budget / 1e6:.0f} MB", ""]
    facts = machine() | {"command": " ".join(["python -m benchmarks.tiles", *sys.argv[1:]])}
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        "",
        "Baseline (no encoder, 16 channels, 4 levels, 4 stacks, CVN), untrained, random weights, "
        "means and template. A process of its own imports the library, loads the file and inspects "
        "one PNG file; MB of 10⁶ bytes, the process's peak so far (VmHWM). With a load average "
        "above the threads other programs ran too: beside the wall time stands the processor's.",
        "",
        "| | imported | loaded | peak | prepare s | inspect s | processor s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {row['imported']:.0f} | {row['loaded']:.0f} | {row['peak']:.0f} "
        f"| {row['prepare_seconds']:.1f} | {row['seconds']:.1f} "
        f"| {row['processor_seconds']:.1f} |"
        for name, row in rows.items()
    ]
    lines += ["", f"Relative difference of the two maps: {difference:.1e}.", ""]
    for name, row in rows.items():
        plan = row["plan"].splitlines()
        kept = [line for line in plan[:1] if "tiles" in line] + plan[-2:]
        lines += [f"Plan, {name}:", "", *(f"    {line}" for line in kept), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Measure both processes and write the file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--budget", type=int, default=4000, help="in MB")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    budget = options.budget * 1_000_000
    if options.measure:
        allowed = None if options.whole else budget
        found = measure(options.measure, allowed, options.threads, options.output)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = detector("none", options.size, channels=16)
        made.threshold = THRESHOLD
        made.save(folder / "detector.safetensors")
        pixels = images(1, options.size)[0].numpy()
        Image.fromarray(pixels).save(folder / "image.png", compress_level=1)
        rows, maps = {}, []
        common = ["--measure", name, "--budget", str(options.budget)]
        common += ["--threads", str(options.threads)]
        for row, more in (("within the budget", []), ("without one", ["--whole"])):
            output = folder / f"{len(maps)}.npy"
            rows[row] = in_a_process([*common, *more, "--output", str(output)])
            maps.append(np.load(output).astype(np.float64))
    difference = float(np.linalg.norm(maps[0] - maps[1]) / np.linalg.norm(maps[1]))
    options.output.write_text(report(options.size, budget, rows, difference))
    print(options.output.read_text())


if __name__ == "__main__":
    main()

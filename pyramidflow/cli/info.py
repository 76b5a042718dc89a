"""``pyramidflow info``."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import (
    MemoryBudget,
    PrecisionName,
    Threads,
    bytes_of,
    refuse_without,
)
from pyramidflow.errors import InputError


def info(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Detector file (.safetensors).", show_default=False),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the file's whole header as JSON.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Say how an inspection on the CPU is computed, and measure where its time goes.",
        ),
    ] = False,
    threads: Threads = None,
    memory_budget: MemoryBudget = None,
    precision: PrecisionName = None,
) -> None:
    """Say what is in a detector file, and with --plan how an inspection runs on this machine."""
    import json

    from pyramidflow.cli.summary import header_facts, print_facts
    from pyramidflow.detector.artifact import read_header

    if plan and as_json:
        raise InputError("--plan and --json are given: a plan is text; leave one of them out.")
    if plan:
        typer.echo(_plan(model, threads, bytes_of(memory_budget), precision))
        return
    how = {"threads": threads, "memory_budget": memory_budget, "precision": precision}
    refuse_without("--plan", how)
    header = read_header(model)
    if as_json:
        typer.echo(json.dumps(header.as_dict(), indent=2))
    else:
        print_facts(header_facts(header) | {"file": f"{model} ({model.stat().st_size:,} bytes)"})
        if header.trials:
            from pyramidflow.cli.tuning import print_trials

            print_trials(header.trials)


def _plan(
    model: Path, threads: int | None, memory_budget: int | None, precision: PrecisionName
) -> str:
    import torch

    from pyramidflow.detector import Detector
    from pyramidflow.line import rehearse
    from pyramidflow.runtime.cpu import CpuRuntime, TiledRuntime

    detector = Detector.load(model, device="cpu")
    session = detector.prepare(threads=threads, memory_budget=memory_budget, precision=precision)
    runtime = session.runtime
    if not isinstance(runtime, CpuRuntime | TiledRuntime):
        how = runtime.plan.explain()
        return f"{how}: the compiled CPU kernels are not in use, see pyramidflow doctor."
    measured = runtime.profile(torch.zeros((*runtime.size, 3), dtype=torch.uint8))
    total = sum(milliseconds for _, milliseconds in measured)
    lines = [
        f"{name:34} {milliseconds:9.2f} ms {100 * milliseconds / total:5.1f}%"
        for name, milliseconds in measured
    ]
    lines = [f"Measured on {runtime.threads} threads, medians of 5 runs:", *lines]
    lines.append(f"{'in all':34} {total:9.2f} ms")
    (height, width), stages = rehearse(session)
    lines += ["", f"From a PNG file of {height}×{width} to its verdict, medians of 5 runs:"]
    lines += [f"{stage:34} {milliseconds:9.2f} ms" for stage, milliseconds in stages]
    lines.append(f"{'in all':34} {sum(taken for _, taken in stages):9.2f} ms")
    return "\n".join([runtime.plan.explain(), "", *lines])

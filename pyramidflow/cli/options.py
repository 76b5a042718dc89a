"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ModelFile = Annotated[
    Path, typer.Option("--model", help="Detector file (.safetensors).", show_default=False)
]
Device = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1, …; auto takes CUDA where it is there.")
]
ReportFolder = Annotated[
    Path, typer.Option("--output", help="Folder for what is written.", show_default=False)
]
FalseRejectRate = Annotated[
    float,
    typer.Option(
        "--target-false-reject-rate",
        help="Share of good parts that may be rejected, between 0 and 1.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="Threads of an inspection on the CPU.", show_default=False
    ),
]
MemoryBudget = Annotated[
    int | None,
    typer.Option(
        "--memory-budget",
        min=1,
        metavar="MB",
        help="Memory that the process may have at its peak, in MB; without it the fastest plan. "
        "Pictures larger than the model's image size add about 15 bytes for each of their pixels, "
        "22 with --maps.",
        show_default=False,
    ),
]
PrecisionName = Annotated[
    Literal["half", "bfloat16", "tf32", "float32"] | None,
    typer.Option(
        "--precision",
        help="float32 or bfloat16 on a CPU; half, bfloat16, tf32 or float32 on a GPU. By default "
        "the first.",
        show_default=False,
    ),
]


MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        help="Largest picture that is decoded, in millions of pixels.",
        show_default="178",
    ),
]
ThresholdByHand = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="Largest score that still is good, in place of the calibrated one.",
        show_default=False,
    ),
]


def pixels_of(megapixels: float | None) -> int | None:
    """The largest picture in pixels."""
    return None if megapixels is None else round(megapixels * 1e6)


def bytes_of(megabytes: int | None) -> int | None:
    """A memory budget in bytes."""
    return None if megabytes is None else megabytes * 1_000_000

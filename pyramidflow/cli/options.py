"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

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

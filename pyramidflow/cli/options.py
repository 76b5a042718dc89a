"""Arguments that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.variants import FALSE_REJECT_RATE

MOST_MEGAPIXELS = 1_000_000
"""More than any picture has that fits into memory."""

ModelFile = Annotated[
    Path, typer.Option("--model", help="Detector file (.safetensors).", show_default=False)
]
Device = Annotated[
    str, typer.Option("--device", help="cpu, cuda, cuda:1, …; auto takes CUDA where it is there.")
]
ReportFolder = Annotated[
    Path, typer.Option("--output", help="Folder for what is written.", show_default=False)
]
EncoderWeights = Annotated[
    Path | None,
    typer.Option(
        "--encoder-weights",
        help="File with the encoder's weights, in place of its download or package.",
    ),
]
CategoryName = Annotated[
    str | None, typer.Option("--category", help="Category, where the data set has several.")
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Published settings for the category: mvtec has those of the released code for "
        "MVTec AD, paper the letter of the supplement. Options that are given stand above it.",
    ),
]
CacheSize = Annotated[
    int, typer.Option("--cache-size", min=0, metavar="MB", help="Memory for decoded images.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that prepare images; by default none where all images fit into the memory "
        "for them, else as many as there are processors, at most 4.",
        show_default="auto",
    ),
]
FalseRejectRate = Annotated[
    float | None,
    typer.Option(
        "--target-false-reject-rate",
        help="Share of good parts that may be rejected, between 0 and 1.",
        show_default=str(FALSE_REJECT_RATE),
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
ReviewRate = Annotated[
    float | None,
    typer.Option(
        "--target-review-rate",
        help="Share of good parts that may be for review or rejected, above the one that may be "
        "rejected: it sets a lower threshold, and scores between both are for review.",
        show_default="no score is for review",
    ),
]
ThresholdByHand = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="Largest score that is not ng, in place of the calibrated one.",
        show_default=False,
    ),
]
ReviewThreshold = Annotated[
    float | None,
    typer.Option(
        "--review-threshold",
        help="Largest score that is ok, by hand: between it and the threshold a part is for "
        "review.",
        show_default=False,
    ),
]
PixelThreshold = Annotated[
    float | None,
    typer.Option(
        "--pixel-threshold",
        help="Value of the map above which pixels belong to a region; it changes no verdict.",
        show_default="the lowest threshold of the verdict",
    ),
]
ReportEvery = Annotated[
    float, typer.Option("--report-every", min=1, metavar="S", help="Seconds between counts.")
]


def pixels_of(megapixels: float | None) -> int | None:
    """The largest picture in pixels.

    Raises:
        InputError: it is less than a pixel, or more than any picture has.
    """
    if megapixels is None:
        return None
    if not 1e-6 <= megapixels <= MOST_MEGAPIXELS:
        raise InputError(
            f"--max-megapixels is {megapixels:g}: give millions of pixels, at least 0.000001 and "
            f"at most {MOST_MEGAPIXELS}."
        )
    return round(megapixels * 1e6)


def refuse_without(needed: str, given: Mapping[str, object]) -> None:
    """Refuse options that would do nothing, as another one is not given.

    Args:
        needed: the other one, as people type it.
        given: options by name; those that are not given are ``None``, false or empty.

    Raises:
        InputError: one is given.
    """
    for name, value in given.items():
        if value is None or value is False or value == []:
            continue
        listed = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        is_ = "given" if value is True else printable(listed)
        option = f"--{name.replace('_', '-')}"
        raise InputError(f"{option} is {is_}: it does nothing without {needed}; give both.")


def detector_file(path: Path) -> Path:
    """A detector file to write; another ending would let a slip replace any file.

    Raises:
        InputError: it is not named ``.safetensors``.
    """
    if path.suffix != ".safetensors":
        raise InputError(f"the output is {printable(path)}: name a .safetensors file.")
    return path


def bytes_of(megabytes: int | None) -> int | None:
    """A memory budget in bytes."""
    return None if megabytes is None else megabytes * 1_000_000

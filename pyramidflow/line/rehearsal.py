"""An inspection tried on a made picture, to see how long its stages take on this machine."""

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from pyramidflow.data import read_image
from pyramidflow.detector import Session
from pyramidflow.io.pictures import png
from pyramidflow.spec import ImageSize

LARGEST_SIDE = 2048
"""Of the picture, in pixels, unless the network works at a larger size."""


class Rehearsal(NamedTuple):
    """How long an image took.

    Attributes:
        size: height and width of the picture, in pixels.
        stages: name and median milliseconds of each stage, in order.
    """

    size: ImageSize
    stages: list[tuple[str, float]]


def rehearse(session: Session, rounds: int = 5) -> Rehearsal:
    """Read, resize and inspect a grainy grey picture twice as wide as the network's images.

    Args:
        session: of any detector.
        rounds: images after a first one that does not count.

    Returns:
        The picture's size and the times.

    Raises:
        InputError: its score is not finite.
    """
    height, width = (max(side, min(2 * side, LARGEST_SIDE)) for side in session.size)
    grain = np.random.default_rng(0).integers(112, 144, (height, width, 3), dtype=np.uint8)
    times: dict[str, list[float]] = {"reading": [], "resizing": [], "inspecting": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(png(grain))
        for _ in range(rounds + 1):
            start = perf_counter()
            pixels = read_image(path, session.decoding)
            times["reading"].append(1e3 * (perf_counter() - start))
            [found] = session.inspect_pixels([pixels])
            times["resizing"].append(found.times.resizing)
            if found.pose is not None:
                times.setdefault("aligning", []).append(found.times.aligning)
            times["inspecting"].append(found.times.inspecting)
    return Rehearsal(
        (height, width), [(stage, median(taken[1:])) for stage, taken in times.items()]
    )

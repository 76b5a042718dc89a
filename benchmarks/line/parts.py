"""What the line's benchmarks inspect: files of pictures, and a detector that takes all for good."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

THRESHOLD = 1e9
"""So that no region is found: random weights would make thousands of them."""


def write_detector(file: Path, size: int, encoder: str = "lift", channels: int = 16) -> None:
    """A detector's file; its weights are random, which time does not depend on."""
    from benchmarks.harness.subjects import detector

    made = detector(encoder, size, channels=channels)
    made.threshold = THRESHOLD
    made.save(file)


def picture(size: int, seed: int) -> Any:
    """A grey part with grain, uint8 ``[size, size, 3]``: files as large as a camera's."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(60, 180, size)[None, :, None] + np.zeros((size, size, 3))
    return (ramp + random.normal(0, 4, ramp.shape)).clip(0, 255).astype(np.uint8)


def write_pictures(folder: Path, size: int, kind: str, count: int, different: int = 20) -> None:
    """Files of pictures, ``PNG`` or ``JPEG``; after some they repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
    encoded = []
    for seed in range(min(count, different)):
        path = folder / f"{seed:06}.{suffix}"
        Image.fromarray(picture(size, seed)).save(path, kind)
        encoded.append(path.read_bytes())
    for number in range(different, count):
        (folder / f"{number:06}.{suffix}").write_bytes(encoded[number % different])

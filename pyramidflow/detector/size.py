"""The size that a detector works at: chosen from the training images, and checked against them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from pyramidflow.data import Decoding, read_image
from pyramidflow.errors import InputError
from pyramidflow.model.encoders import encoder_of
from pyramidflow.spec import AUTO, ImageSize, Preprocessing, Spec, size_text

SAMPLE = 32
"""Images that are looked at for their size."""

LARGEST_UNIT = 32
"""Pixels that the sides of a chosen size are multiples of, at most."""

LEAST_PIXELS = 2
"""Working pixels across a defect, so that it can still be found."""


def image_sizes(paths: Sequence[Path], decoding: Decoding) -> list[ImageSize]:
    """Height and width of some of the images, upright; those that cannot be read are left out."""
    step = max(1, len(paths) // SAMPLE)
    sizes = []
    for path in paths[::step][:SAMPLE]:
        try:
            pixels = read_image(path, decoding)
        except InputError:
            continue  # the training reads all of them, and names those that are bad
        sizes.append((pixels.shape[0], pixels.shape[1]))
    return sizes


def resolved(spec: Spec, sizes: Sequence[ImageSize], side: float | None = None) -> Spec:
    """The spec with a size in place of ``"auto"``.

    The size has the median aspect of the images and, up to rounding, as many pixels as a square;
    its sides are multiples of what the pyramid halves, at most 32.

    Args:
        spec: every setting.
        sizes: height and width of the training images.
        side: of that square; by default the encoder's own.
    """
    if spec.preprocessing.image_size != AUTO or not sizes:
        return spec
    side = side or encoder_of(spec.network.encoder).image_size
    unit: int = min(LARGEST_UNIT, (spec.network.stride or 1) * 2 ** (spec.network.levels - 1))
    aspect = median(height / width for height, width in sizes)

    def rounded(length: float) -> int:
        return max(unit, unit * round(length / unit))

    size = (rounded(side * math.sqrt(aspect)), rounded(side / math.sqrt(aspect)))
    return replace(spec, preprocessing=replace(spec.preprocessing, image_size=size))


def too_small(preprocessing: Preprocessing, sizes: Sequence[ImageSize]) -> str | None:
    """Say that the smallest defect has less than two working pixels, and which size it needs.

    Args:
        preprocessing: with the working size and the smallest defect.
        sizes: height and width of the training images.

    Returns:
        One sentence, or ``None`` where the defect is large enough or not known.
    """
    defect = preprocessing.smallest_defect
    if defect is None or not sizes:
        return None
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    left = [
        defect * working / length
        for working, length in zip(preprocessing.size, largest, strict=True)
    ]
    if min(left) >= LEAST_PIXELS:
        return None
    wanted = tuple(math.ceil(LEAST_PIXELS * length / defect) for length in largest)
    return (
        f"a defect of {defect:g} pixels has {min(left):.2g} pixels at the image size "
        f"{size_text(preprocessing.size)}: at least {LEAST_PIXELS} are expected; give --image-size "
        f"{wanted[0]}x{wanted[1]}."
    )

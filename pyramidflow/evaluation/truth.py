"""What is known about where a test image is defective."""

from pathlib import Path

import numpy as np

from pyramidflow.data import Decoding, Sample, read_mask
from pyramidflow.errors import InputError
from pyramidflow.evaluation.masks import ReducedMask, reduce_mask
from pyramidflow.io.names import printable
from pyramidflow.spec import ImageSize


def truth_of(
    sample: Sample, shape: tuple[int, int], size: ImageSize, decoding: Decoding
) -> ReducedMask | None:
    """The mask of a test image at the size that is measured at.

    Args:
        sample: the image.
        shape: ``(H, W)`` of it, as its mask must have.
        size: ``(h, w)`` of the result.
        decoding: how the mask's file is read.

    Returns:
        Of a good image an empty mask; ``None`` where it is not known which pixels are defective.

    Raises:
        InputError: the mask cannot be read, or has another shape.
    """
    if sample.mask_path is not None:
        return reduce_mask(read_mask(sample.mask_path, shape, decoding), size)
    if sample.is_defective:
        return None
    return ReducedMask(np.zeros(size, dtype=bool), 0, 0)


def failure_sentence(path: Path, error: Exception) -> str:
    """Why a file could not be used, with its name."""
    shown = printable(path)
    if not isinstance(error, InputError):
        reason = printable(error) or type(error).__name__
        return f"{shown} cannot be used ({reason}): copy it again, or leave it out."
    return str(error) if shown in str(error) else f"{shown}: {error}"

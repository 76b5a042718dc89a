"""What tells one image from another, whatever its file is called."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyramidflow.data import ImageSet
from pyramidflow.errors import InputError
from pyramidflow.training.progress import SilentProgress, TrainingProgress

SHOWN = 10
"""Files that cannot be read of which the sentence tells."""


def content_digest(pixels: npt.NDArray[Any]) -> str:
    """Digest of an image's pixels, 16 hexadecimal digits.

    Args:
        pixels: ``[H, W, 3]``, uint8 or uint16.
    """
    found = hashlib.blake2b(f"{pixels.dtype} {pixels.shape}".encode(), digest_size=8)
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()


def content_digests(images: ImageSet, progress: TrainingProgress | None = None) -> tuple[str, ...]:
    """Read every image once, and tell what it holds.

    Args:
        images: what fits its memory stays decoded.
        progress: told how it goes.

    Raises:
        InputError: some cannot be read; all of them are counted, the first are named.
    """
    progress = progress or SilentProgress()
    progress.begin("reading", 0, len(images))
    digests: list[str] = []
    errors: list[InputError] = []
    for index in range(len(images)):
        try:
            digests.append(content_digest(images[index]))
        except InputError as error:
            errors.append(error)
        progress.advance()
    if len(errors) == 1:
        raise errors[0]
    if errors:
        more = "" if len(errors) <= SHOWN else f" and {len(errors) - SHOWN} more"
        listed = " | ".join(str(error) for error in errors[:SHOWN])
        raise InputError(f"{len(errors)} of {len(images)} images cannot be used: {listed}{more}")
    return tuple(digests)


def fingerprint(digests: Sequence[str]) -> str:
    """One digest of many, in their order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]

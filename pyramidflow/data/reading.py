"""How the files of a training become its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data.decoding import Decoding
from pyramidflow.data.imageset import CACHE_BYTES, ImageSet


@dataclass(frozen=True)
class Reading:
    """How files of images are read.

    Attributes:
        size: height and width that images are resized to.
        decoding: how the files are decoded.
        cache_bytes: memory for decoded images.
    """

    size: tuple[int, int]
    decoding: Decoding
    cache_bytes: int = CACHE_BYTES

    def images(self, paths: Sequence[Path]) -> ImageSet:
        """The images of some files, as they lie."""
        return ImageSet(paths, self.size, self.cache_bytes, self.decoding)

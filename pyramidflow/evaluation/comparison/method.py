"""What every compared method is: fitted on good images, it gives maps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyramidflow.data import CACHE_BYTES, Decoding, ImageSet, Pixels
from pyramidflow.detector.findings import Map


class Method(Protocol):
    """A way to find defects, learned from good images.

    Attributes:
        name: as tables and figures call it.
        settings: what its numbers depend on, in a few words.
    """

    name: str
    settings: str

    def fit(self, images: Sequence[Path]) -> None:
        """Learn what is normal.

        Args:
            images: files of good images.

        Raises:
            InputError: an image cannot be used.
        """

    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """Anomaly maps of images, one after the other.

        Args:
            images: decoded, ``[H, W, 3]`` each, of any size.

        Yields:
            float32 ``[h, w]``, at the size that the method works at; not negative, higher where an
            image is less normal.
        """


@dataclass(frozen=True)
class Reading:
    """How a method of others gets its images.

    Attributes:
        size: height and width that they are resized to.
        decoding: how files are read.
        cache_bytes: memory for decoded images.
    """

    size: tuple[int, int]
    decoding: Decoding
    cache_bytes: int = CACHE_BYTES

    def of(self, files: Sequence[Path]) -> ImageSet:
        """The images of files."""
        return ImageSet(files, self.size, self.cache_bytes, self.decoding)

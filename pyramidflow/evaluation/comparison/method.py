"""What every compared method is: fitted on good images, it gives maps."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pyramidflow.data import Pixels
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

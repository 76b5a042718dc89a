"""The images of a training, brought to one pose as they are read."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pyramidflow.alignment.aligner import Aligner
from pyramidflow.alignment.pose import Mask, Pose
from pyramidflow.alignment.search import Found
from pyramidflow.data import Decoding, ImageSet


class AlignedSet(ImageSet):
    """Images in the reference's pose.

    Args:
        paths: the files.
        size: height and width of the reference.
        aligner: with the reference.
        found: poses that are known already.
        cache_bytes: see :class:`pyramidflow.data.ImageSet`.
        decoding: how the files are read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: tuple[int, int],
        aligner: Aligner,
        found: Mapping[Path, Found],
        cache_bytes: int,
        decoding: Decoding,
    ) -> None:
        super().__init__(paths, size, cache_bytes, decoding)
        self._aligner = aligner
        self._found = dict(found)

    def _prepared(self, path: Path, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        placed = self._aligner.place(pixels, self._found.get(path))
        self._found[path] = placed.found
        return placed.pixels

    def seen(self, index: int, size: tuple[int, int]) -> Mask | None:
        """Which pixels of a map ``[h, w]`` of an image say something about it.

        Args:
            index: of the image, which was read before.
            size: height and width of the map.
        """
        found = self._found[self.paths[index]]
        is_found = found.agreement >= self._aligner.reference.facts.least_agreement
        return self._aligner.seen(found.pose if is_found else Pose(), size)

    @property
    def treatment(self) -> str:
        """What was done to the pixels: a digest of rule and reference."""
        reference = self._aligner.reference
        found = hashlib.sha256()
        for tensor in reference.tensors.values():
            found.update(tensor.numpy().tobytes())
        found.update(f"{reference.facts} {self._aligner.rule}".encode())
        return found.hexdigest()[:16]

"""Held-out good images and their defective copies: what settings are examined on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pyramidflow.data import Decoding, Pixels, read_image, resize_image
from pyramidflow.detector import Session
from pyramidflow.detector.counted_area import CountedArea, stretched
from pyramidflow.detector.findings import Map, resize_map
from pyramidflow.detector.working_map import WorkingMap
from pyramidflow.evaluation import reduce_mask
from pyramidflow.spec import ImageSize, VerdictRule
from pyramidflow.spec.rules import PLAIN_VERDICT
from pyramidflow.tuning.criterion import Answers
from pyramidflow.tuning.defects import KINDS, draw_defect
from pyramidflow.tuning.scene import BoolArray, Scene

MEASURED_PIXELS = 256 * 256
"""Of an image, at most: maps of all sizes are compared at one, whatever the network works at."""

DEFECTS = 96
"""That are drawn in all, about: a whole number of each kind into each image."""


@dataclass(frozen=True)
class _Copies:
    """A good image and its defective copies, at one size, and their masks at another."""

    pixels: tuple[Pixels, ...]
    masks: tuple[BoolArray, ...]
    size: ImageSize  # of the image as it was read


class Exam:
    """Good images that were not trained on, and copies of them with drawn defects.

    Defects are drawn where they count, and are at least as large as the verdict wants them. Pixels
    that do not count are not measured.

    Nothing is kept but the copies at the size that was asked for last: they are drawn anew for
    another size, the same ones.

    Args:
        paths: the good images, two or more.
        decoding: how they are read.
        seed: of the defects.
        rule: the verdict's settings.
        area_masks: of its mask pictures.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        decoding: Decoding,
        seed: int,
        rule: VerdictRule = PLAIN_VERDICT,
        area_masks: Sequence[Tensor] = (),
    ) -> None:
        self.paths = tuple(paths)
        self._rule = rule
        self._area_masks = tuple(area_masks)
        self._decoding = decoding
        self._seed = seed
        self._kept: tuple[ImageSize, list[_Copies]] | None = None
        self.rounds = max(1, round(DEFECTS / len(KINDS) / len(self.paths)))

    @property
    def defects(self) -> int:
        """That are drawn in all."""
        return self.rounds * len(KINDS) * len(self.paths)

    def taken_by(self, session: Session, on_image: Callable[[], object] = lambda: None) -> Answers:
        """What a detector says.

        Args:
            session: of the detector.
            on_image: called after each good image and its copies.

        Raises:
            InputError: an image cannot be read, or a score is not finite.
        """
        scores, maps, masks = [], [], []
        for copies in self._copies(session.size):
            found = list(session.working_maps(copies.pixels, copies.size))
            scores.append([one.score for one in found])
            measured = [_measured(*pair) for pair in zip(found, copies.masks, strict=True)]
            maps.append([values for values, _ in measured])
            masks.append([mask for _, mask in measured])
            on_image()
        return Answers.of(np.array(scores), maps, masks)

    def _copies(self, size: ImageSize) -> Iterator[_Copies]:
        if self._kept is not None and self._kept[0] == size:
            yield from self._kept[1]
            return
        drawn = []
        for index in range(len(self.paths)):
            drawn.append(self._drawn(index, size))
            yield drawn[-1]
        self._kept = (size, drawn)

    def _drawn(self, index: int, size: ImageSize) -> _Copies:
        image = read_image(self.paths[index], self._decoding)
        other = read_image(self.paths[(index + 1) % len(self.paths)], self._decoding)
        scene = Scene(image, self._area(image))
        source = Scene(other) if other.dtype == image.dtype else scene
        measured = measured_size(scene.size)
        pixels = [resize_image(image, size)]
        masks = [np.zeros(measured, dtype=bool)]
        for number, kind in enumerate(KINDS * self.rounds):
            rng = np.random.default_rng((self._seed, index, number))
            drawn = draw_defect(scene, source, kind, rng, max(1, self._rule.least_area))
            pixels.append(resize_image(drawn.pixels, size))
            masks.append(reduce_mask(drawn.mask, measured).mask)
        return _Copies(tuple(pixels), tuple(masks), scene.size)

    def _area(self, image: Pixels) -> BoolArray | None:
        size = (image.shape[0], image.shape[1])
        return CountedArea(self._rule, self._area_masks, size).of(size).mask


def _measured(found: WorkingMap, mask: BoolArray) -> tuple[Map, BoolArray]:
    """The map's values and the defect's pixels where they count."""
    size = (mask.shape[0], mask.shape[1])
    values = resize_map(found.anomaly_map, size)
    if found.counted is None:
        return values, mask
    counted = stretched(found.counted, size)
    return values[counted], mask[counted]


def measured_size(size: ImageSize) -> ImageSize:
    """Of an image's map, where it is measured: the image's own, or less with its aspect."""
    height, width = size
    scale = min(1.0, (MEASURED_PIXELS / (height * width)) ** 0.5)
    return max(1, round(scale * height)), max(1, round(scale * width))

"""Images on their way to the network and maps on their way back, in the pose that both need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyramidflow.alignment import Aligner, Placed, Reference
from pyramidflow.data import Pixels
from pyramidflow.detector.counted_area import Mask
from pyramidflow.detector.findings import Map, PartPose
from pyramidflow.spec import AlignmentRule, ImageSize


@dataclass(frozen=True, eq=False)
class Batch:
    """Images as they lie.

    Attributes:
        images: ``[h, w, 3]`` each, for the network.
        seen: mask ``[B, h, w]`` of the map's pixels that say something; ``None`` for all.
    """

    images: Sequence[Pixels]
    seen: Tensor | None

    def back(self, maps: Sequence[Map]) -> list[Map]:
        """The network's maps, as the images lie."""
        return list(maps)

    def back_masks(self, masks: "Sequence[Mask | None]") -> "list[Mask | None]":
        """Masks of the network's maps, as the images lie."""
        return list(masks)

    def poses(self, sizes: Sequence[ImageSize]) -> list[PartPose | None]:
        """Of each part, in pixels of images of some sizes."""
        return [None] * len(self.images)


@dataclass(frozen=True, eq=False)
class AlignedBatch(Batch):
    """Images in the reference's pose.

    Attributes:
        aligner: that brought them there.
        placed: each of them.
    """

    aligner: Aligner
    placed: Sequence[Placed]

    def back(self, maps: Sequence[Map]) -> list[Map]:
        """The network's maps, as the images lie; 0 where they say nothing."""
        return [
            self.aligner.back(anomaly_map, each.pose)
            for anomaly_map, each in zip(maps, self.placed, strict=True)
        ]

    def back_masks(self, masks: "Sequence[Mask | None]") -> "list[Mask | None]":
        """Masks of the network's maps, as the images lie."""
        return [
            None if mask is None else self.aligner.back(mask.astype(np.float32), each.pose) >= 0.5
            for mask, each in zip(masks, self.placed, strict=True)
        ]

    def poses(self, sizes: Sequence[ImageSize]) -> list[PartPose | None]:
        """Of each part, in pixels of images of some sizes."""
        ratio = self.aligner.reference.facts.ratio
        return [
            PartPose(
                (each.found.pose.x * width, each.found.pose.y / ratio * height),
                each.found.pose.angle,
                each.found.agreement,
                each.is_found,
            )
            for each, (height, width) in zip(self.placed, sizes, strict=True)
        ]


class Placing:
    """Brings images to the pose that a detector compares them in.

    Args:
        reference: what poses are measured against; ``None`` leaves images as they lie.
        rule: how far parts may lie off.
        map_size: height and width of the network's maps.
        device: of the maps.
    """

    def __init__(
        self,
        reference: Reference | None,
        rule: AlignmentRule,
        map_size: ImageSize,
        device: torch.device,
    ) -> None:
        self._aligner = None if reference is None else Aligner(reference, rule)
        self._map_size = map_size
        self._device = device

    def __call__(self, images: Sequence[Pixels]) -> Batch:
        """Place images ``[h, w, 3]`` of the size that the network works at."""
        if self._aligner is None:
            return Batch(images, None)
        placed = [self._aligner.place(image) for image in images]
        seen = np.stack([self._aligner.seen(each.pose, self._map_size) for each in placed])
        return AlignedBatch(
            [each.pixels for each in placed],
            torch.from_numpy(seen).float().to(self._device),
            self._aligner,
            placed,
        )

"""From decoded images to network input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data.imageset import stack

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How images become network input; part of every model file.

    Attributes:
        image_size: side of the square that images are resized to, in pixels.
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
    """

    image_size: int = 256
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def batch(self, images: Sequence[npt.NDArray[np.generic]], device: torch.device) -> Tensor:
        """Normalise images that are resized already.

        Args:
            images: ``[image_size, image_size, 3]`` each, uint8 or uint16.
            device: where the result lives.

        Returns:
            ``[B, 3, image_size, image_size]``, float32.
        """
        mean, std = torch.tensor([self.mean, self.std], device=device)
        return ops.normalize_image(stack(images).to(device), mean, std)

    def denormalize(self, image: Tensor) -> npt.NDArray[np.uint8]:
        """Turn network input back into a picture.

        Args:
            image: ``[3, h, w]``.

        Returns:
            ``[h, w, 3]``, uint8.
        """
        mean, std = torch.tensor([self.mean, self.std], device=image.device)
        scaled = image.permute(1, 2, 0) * std + mean  # [h, w, 3]
        pixels: npt.NDArray[np.uint8] = scaled.clamp(0, 1).mul(255).round().byte().cpu().numpy()
        return pixels

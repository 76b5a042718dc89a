"""From decoded images to network input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data.imageset import stack
from pyramidflow.settings import Validated, setting

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing(Validated):
    """How images become network input; part of every detector file.

    Attributes:
        image_size: side of the square that images are resized to, in pixels.
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
        white_level: value that stands for white in images of 16 bits; ``None`` is the file's own,
            65535.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "preprocessing settings"

    image_size: int = setting(
        256,
        "Side of the square that images are resized to, in pixels.",
        least=1,
        most=65536,
        shown_default="256, 1024 with a ResNet",
    )
    mean: tuple[float, float, float] = setting(IMAGENET_MEAN, on_command_line=False)
    std: tuple[float, float, float] = setting(IMAGENET_STD, above=0, on_command_line=False)
    white_level: int | None = setting(
        None,
        "Value that stands for white in images of 16 bits: 4095 for a camera of 12 bits.",
        least=1,
        most=65535,
        shown_default="65535",
    )

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

"""From decoded images to network input, and back."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data.imageset import stack
from pyramidflow.data.transforms import to_mean_level
from pyramidflow.spec import Preprocessing


def network_input(
    images: Sequence[npt.NDArray[np.generic]], preprocessing: Preprocessing, device: torch.device
) -> Tensor:
    """Bring images that are resized already to one brightness, and normalise them.

    Args:
        images: ``[H, W, 3]`` each, uint8 or uint16.
        preprocessing: with the brightness, and the mean and deviation to normalise by.
        device: where the result lives.

    Returns:
        ``[B, 3, H, W]``, float32.
    """
    return normalised(batch_of(images, preprocessing), preprocessing, device)


def batch_of(images: Sequence[npt.NDArray[np.generic]], preprocessing: Preprocessing) -> Tensor:
    """Bring images to one brightness and stack them: ``[B, H, W, 3]``, uint8 or uint16.

    Args:
        images: ``[H, W, 3]`` each, uint8 or uint16.
        preprocessing: with the brightness.
    """
    return stack([to_mean_level(image, preprocessing.mean_level) for image in images])


def normalised(batch: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Normalise a batch by mean and deviation: ``[B, 3, H, W]``, float32.

    Args:
        batch: ``[B, H, W, 3]``, uint8 or uint16.
        preprocessing: with mean and deviation.
        device: where the result lives.
    """
    mean, std = torch.tensor([preprocessing.mean, preprocessing.std], device=device)
    return ops.normalize_image(batch.to(device), mean, std)


def picture_of(image: Tensor, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Turn network input back into a picture.

    Args:
        image: ``[3, h, w]``.
        preprocessing: with the mean and deviation that it was normalised by.

    Returns:
        ``[h, w, 3]``, uint8.
    """
    mean, std = torch.tensor([preprocessing.mean, preprocessing.std], device=image.device)
    scaled = image.permute(1, 2, 0) * std + mean  # [h, w, 3]
    pixels: npt.NDArray[np.uint8] = scaled.clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return pixels

"""From decoded images to network input, and back."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data.imageset import stack
from pyramidflow.spec import Preprocessing


def network_input(
    images: Sequence[npt.NDArray[np.generic]], preprocessing: Preprocessing, device: torch.device
) -> Tensor:
    """Normalise images that are resized already.

    Args:
        images: ``[H, W, 3]`` each, uint8 or uint16.
        preprocessing: with the mean and deviation to normalise by.
        device: where the result lives.

    Returns:
        ``[B, 3, H, W]``, float32.
    """
    mean, std = torch.tensor([preprocessing.mean, preprocessing.std], device=device)
    return ops.normalize_image(stack(images).to(device), mean, std)


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

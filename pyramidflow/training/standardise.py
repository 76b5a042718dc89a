"""Mean and spread of an encoder's channels over the training images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pyramidflow.model.frozen import Standardised

LEAST_SHARE = 1e-3
"""Of the channels' typical spread, that each one has at least: a channel that never moves on good
images must not decide the verdict by its rounding."""


@torch.no_grad()
def standardise(encoder: Standardised, images: Iterable[Tensor]) -> None:
    """Measure the channels' statistics and keep them in the encoder.

    ``mean_c`` and ``std_c`` over all pixels of all images, ``std_c`` at least a thousandth of the
    root mean square of all channels' and 1 where no channel moves; sums are float64.

    Args:
        encoder: receives them.
        images: normalised, ``[B, 3, H, W]`` each.
    """
    total = torch.zeros_like(encoder.mean, dtype=torch.float64)  # [C]
    squares, count = total.clone(), 0
    for image in images:
        features = encoder.network(image).double()  # [B, C, h, w]
        total += features.sum((0, 2, 3))
        squares += features.square().sum((0, 2, 3))
        count += features[:, 0].numel()
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    typical = variance.mean().sqrt()
    std = torch.maximum(variance.sqrt(), LEAST_SHARE * typical)
    encoder.mean.copy_(mean)
    encoder.std.copy_(std if typical > 0 else torch.ones_like(std))

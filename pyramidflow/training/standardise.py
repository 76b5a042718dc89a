"""Mean and spread of an encoder's channels over the training images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pyramidflow.model.frozen import Standardised
from pyramidflow.training.parallel import Parallel

LEAST_SHARE = 1e-3
"""Of the channels' typical spread, that each one has at least: a channel that never moves on good
images must not decide the verdict by its rounding."""


@torch.no_grad()
def standardise(
    encoder: Standardised, images: Iterable[Tensor], parallel: Parallel | None = None
) -> None:
    """Measure the channels' statistics and keep them in the encoder.

    ``mean_c`` and ``std_c`` over all pixels of all images, ``std_c`` at least a thousandth of the
    root mean square of all channels' and 1 where no channel moves; sums are float64.

    Args:
        encoder: receives them.
        images: normalised, ``[B, 3, H, W]`` each; of several processes each has its own.
        parallel: the processes; ``None`` is this one alone.
    """
    total = torch.zeros_like(encoder.mean, dtype=torch.float64)  # [C]
    squares, count = total.clone(), total.new_zeros(())
    for image in images:
        features = encoder.network(image).double()  # [B, C, h, w]
        total += features.sum((0, 2, 3))
        squares += features.square().sum((0, 2, 3))
        count += features[:, 0].numel()
    if parallel is not None:
        parallel.add([total, squares, count])
    pixels = float(count)
    mean = total / pixels
    variance = (squares / pixels - mean.square()).clamp(min=0)
    typical = variance.mean().sqrt()
    std = torch.maximum(variance.sqrt(), LEAST_SHARE * typical)
    encoder.mean.copy_(mean)
    encoder.std.copy_(std if typical > 0 else torch.ones_like(std))

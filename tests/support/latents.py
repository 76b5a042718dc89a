"""Latents with known statistics."""

import numpy as np
import torch


def drawn(count, seed=0, scale=1.0):
    """Latents of images whose pixels and channels differ in mean and spread."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 7, 9), (3, 4, 5)]
    spreads = [rng.uniform(0.5, 3, s) for s in shapes]
    means = [rng.normal(0, 2, s) for s in shapes]
    return [
        [
            torch.from_numpy(m + scale * s * rng.normal(size=m.shape))[None].float()
            for m, s in zip(means, spreads, strict=True)
        ]
        for _ in range(count)
    ]

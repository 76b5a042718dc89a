"""The distance to the nearest entry in plain PyTorch: the oracle."""

import torch
from torch import Tensor

ROWS, COLUMNS = 512, 2048
"""Positions and entries whose products are in memory at once: 4 MB, which a cache holds."""


def nearest_distance(features: Tensor, entries: Tensor) -> Tensor:
    """``√(min_n ‖f_p − e_n‖² / F)``, by ``‖f‖² + ‖e‖² − 2 f·e``, a block of products at a time."""
    halves = entries.square().sum(1)[None] / 2  # [1, N]
    pairs = zip(torch.split(halves, COLUMNS, 1), torch.split(entries, COLUMNS), strict=True)
    blocks = list(pairs)
    found = []
    for rows in torch.split(features, ROWS):
        least: Tensor | None = None
        for half, block in blocks:
            lowest = torch.addmm(half, rows, block.T, alpha=-1).amin(1)  # of ‖e‖²/2 − f·e
            least = lowest if least is None else torch.minimum(least, lowest)
        assert least is not None
        found.append(rows.square().sum(1) + 2 * least)
    return (torch.cat(found).clamp_min(0) / entries.shape[1]).sqrt()

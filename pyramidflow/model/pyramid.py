"""The invertible Laplacian pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow import ops


class InvertiblePyramid(nn.Module):
    """Decompose a feature map into levels, and compose them again exactly.

    ``g_0 = x``, ``g_{d+1} = D(g_d)``, ``x_d = g_d − U(g_{d+1})``, ``x_{L-1} = g_{L-1}``;
    composition runs ``r = x_{L-1}``, ``r = U(r) + x_d`` for ``d = L-2 … 0``. The inverse is exact
    whatever ``D`` is. Sizes that ``2^(L-1)`` does not divide are padded below and to the right by
    repeating the border.

    Args:
        levels: ``L``, at least 1.
        reduction: ``"nearest"`` or ``"max"``, see :func:`pyramidflow.ops.pyramid_down`.

    Source: supplement section 1.2, Invertible Pyramid.
    """

    def __init__(self, levels: int, reduction: ops.Reduction = "max") -> None:
        super().__init__()
        self.levels = levels
        self.reduction = reduction

    def padded_size(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width after padding to multiples of ``2^(L-1)``."""
        unit = 2 ** (self.levels - 1)
        return -(-size[0] // unit) * unit, -(-size[1] // unit) * unit

    def decompose(self, features: Tensor) -> tuple[Tensor, ...]:
        """Split ``[B, C, h, w]`` into ``L`` levels ``[B, C, H/2^d, W/2^d]``, finest first.

        ``H, W`` are ``h, w`` padded (:meth:`padded_size`).
        """
        height, width = features.shape[-2:]
        padded_height, padded_width = self.padded_size((height, width))
        fine = features
        if (padded_height, padded_width) != (height, width):
            padding = (0, padded_width - width, 0, padded_height - height)
            fine = functional.pad(features, padding, mode="replicate")  # [B, C, H, W]
        # The order of the coupling convolutions; the operations keep it, so nothing is copied on
        # the way.
        fine = fine.contiguous(memory_format=torch.channels_last)
        levels = []
        for _ in range(self.levels - 1):
            coarse = ops.pyramid_down(fine, self.reduction)  # [B, C, H/2^(d+1), W/2^(d+1)]
            levels.append(ops.pyramid_residual(fine, coarse))
            fine = coarse
        return (*levels, fine)

    @staticmethod
    def compose(levels: Sequence[Tensor]) -> Tensor:
        """Put levels (finest first) together again: ``[B, C, H, W]``, still padded."""
        composed = levels[-1]
        for residual in reversed(levels[:-1]):
            composed = ops.pyramid_merge(composed, residual)
        return composed

"""Stacks of coupling blocks over a pyramid."""

from typing import Literal

import torch
from torch import Tensor, nn

from pyramidflow import ops
from pyramidflow.model.coupling import (
    CouplingBlock,
    DualCoupling,
    Pyramid,
    SingleDownCoupling,
    SingleUpCoupling,
)

BlockKind = Literal["dual", "up", "down"]


def stack_plan(levels: int) -> list[tuple[BlockKind, int]]:
    """Kind and first level of each block of one stack, in order.

    For ``j = 0, 2, 4, …`` a dual block on levels ``j, j+1, j+2`` where they exist, else a single
    block down from ``j`` to ``j+1``; then the single block up from 1 to 0; then the same for
    ``j = 1, 3, 5, …``. A pyramid of ``L`` levels gives ``L`` blocks.

    Source: paper figure 3(b), 3(d).
    """

    def reverse_parallel(first: int) -> list[tuple[BlockKind, int]]:
        return [("dual" if j + 2 < levels else "down", j) for j in range(first, levels - 1, 2)]

    return [*reverse_parallel(0), ("up", 0), *reverse_parallel(1)]


class Flow(nn.Module):
    """The normalizing flow on a pyramid: ``D`` stacks of coupling blocks.

    Args:
        levels: ``L``, at least 2.
        stacks: ``D``.
        channels: ``C``.
        kernel_size: odd ``k``.
        volume_norm: ``"cvn"``, ``"svn"`` or ``"none"``.
        statistics: ``"sample"`` or ``"batch"``.
    """

    def __init__(
        self,
        levels: int,
        stacks: int,
        channels: int,
        kernel_size: int,
        volume_norm: ops.VolumeNormKind,
        statistics: ops.Statistics,
    ) -> None:
        super().__init__()
        common = (channels, kernel_size, volume_norm, statistics)
        blocks: list[CouplingBlock] = []
        for kind, start in stack_plan(levels) * stacks:
            if kind == "up":
                blocks.append(SingleUpCoupling(*common))
            elif kind == "down":
                blocks.append(SingleDownCoupling(start, *common))
            else:
                blocks.append(DualCoupling(start, *common))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, pyramid: Pyramid) -> tuple[Pyramid, Tensor]:
        """Map a pyramid to its latents, with the log-determinant of each sample ``[B]``."""
        total = _zero_log_det(pyramid)
        for block in self.blocks:
            pyramid, log_det = block(pyramid)
            total = total + log_det
        return pyramid, total

    def inverse(self, latents: Pyramid) -> tuple[Pyramid, Tensor]:
        """Map latents back to their pyramid, with the inverse's log-determinant ``[B]``."""
        total = _zero_log_det(latents)
        for block in reversed(self.blocks):
            assert isinstance(block, CouplingBlock)
            latents, log_det = block.inverse(latents)
            total = total + log_det
        return latents, total


def _zero_log_det(pyramid: Pyramid) -> Tensor:
    return torch.zeros(len(pyramid[0]), dtype=pyramid[0].dtype, device=pyramid[0].device)

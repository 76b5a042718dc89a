"""Stacks of coupling blocks over a pyramid."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from pyramidflow import ops
from pyramidflow.model import topology
from pyramidflow.model.coupling import CouplingBlock, Pyramid
from pyramidflow.model.state import LARGEST_WEIGHT, TensorKind


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
        self.blocks = nn.ModuleList(
            CouplingBlock(block, *common) for block in topology.blocks(levels, stacks)
        )

    def __iter__(self) -> Iterator[CouplingBlock]:
        """The blocks, in the order in which they run."""
        for block in self.blocks:
            assert isinstance(block, CouplingBlock)
            yield block

    def state_kinds(self, size: tuple[int, int]) -> dict[str, TensorKind]:
        """What the tensors of its ``state_dict()`` have to be once it is trained.

        A running mean is one number before the first training step, and then a mean over channels
        (CVN) or pixels (SVN).

        Args:
            size: ``(h, w)`` of the finest level.
        """
        kinds = {}
        for name, value in self.state_dict().items():
            kinds[name] = TensorKind.like(value)
            if ".affine_params." in name:
                kinds[name] = replace(kinds[name], least=-LARGEST_WEIGHT, most=LARGEST_WEIGHT)
        for index, block in enumerate(self):
            shapes = {(1, 1, 1, 1), block.mean_shape(size)}
            name = f"blocks.{index}.volume_norm.running_mean"
            kinds[name] = TensorKind(tuple(sorted(shapes)), torch.float32)
        return kinds

    def forward(self, pyramid: Pyramid) -> Pyramid:
        """Map a pyramid to its latents."""
        for block in self:
            pyramid = block(pyramid)
        return pyramid

    def forward_with_log_det(self, pyramid: Pyramid) -> tuple[Pyramid, Tensor]:
        """Map a pyramid to its latents, with the log-determinant of each sample ``[B]``."""
        total = _zero_log_det(pyramid)
        for block in self:
            pyramid, log_det = block.forward_with_log_det(pyramid)
            total = total + log_det
        return pyramid, total

    def inverse(self, latents: Pyramid) -> Pyramid:
        """Map latents back to their pyramid."""
        for block in reversed(list(self)):
            latents = block.inverse(latents)
        return latents

    def inverse_with_log_det(self, latents: Pyramid) -> tuple[Pyramid, Tensor]:
        """Map latents back to their pyramid, with the inverse's log-determinant ``[B]``."""
        total = _zero_log_det(latents)
        for block in reversed(list(self)):
            latents, log_det = block.inverse_with_log_det(latents)
            total = total + log_det
        return latents, total


def _zero_log_det(pyramid: Pyramid) -> Tensor:
    return torch.zeros(len(pyramid[0]), dtype=pyramid[0].dtype, device=pyramid[0].device)

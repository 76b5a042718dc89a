"""The network for inference on a GPU: weights folded, channels-last, in one type.

Nothing here is tied to a GPU: its equality with the network is proven on the CPU.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow import ops
from pyramidflow.model import CouplingBlock
from pyramidflow.model.coupling import LEAKY_SLOPE
from pyramidflow.ops.convolution.direct import fold_upsampling, folded_size
from pyramidflow.runtime.folded import frozen_encoder
from pyramidflow.runtime.trained_network import TrainedNetwork

CHANNELS_LAST = torch.channels_last


class FrozenBlock:
    """A coupling block for inference: weights folded, precomputed and in one type.

    Args:
        block: of the flow, in evaluation mode.
        device: where it runs.
        dtype: in which it runs.
    """

    def __init__(self, block: CouplingBlock, device: torch.device, dtype: torch.dtype) -> None:
        def frozen(x: Tensor) -> Tensor:
            x = x.detach().to(device, dtype)
            return x.contiguous(memory_format=CHANNELS_LAST) if x.dim() == 4 else x.contiguous()

        self.topology = block.topology
        first = block.affine_params.conv1.weight
        self.kernel_size = first.shape[-1]
        self.first = frozen(_phases(first) if self.topology.condition_resample == "up" else first)
        self.second = frozen(block.affine_params.conv2.weight)
        self.mix = frozen(block.conv1x1.weight())
        mean = block.volume_norm.running_mean
        if self.topology.params_resample == "down":
            mean = mean[..., ::2, ::2]  # where the convolution's stride takes its pixels
        self.mean = mean.detach().to(device, dtype).contiguous()

    def __call__(self, levels: Sequence[Tensor]) -> Tensor:
        """The block's level, transformed: ``[B, C, h, w]``."""
        hidden = self._hidden(levels)
        level = levels[self.topology.writes]
        arguments = (level, hidden, self.second, self.mix, self.mean)
        return ops.conv_coupling_conv1x1(*arguments, resample=self.topology.params_resample)

    def _hidden(self, levels: Sequence[Tensor]) -> Tensor:
        conditions = [levels[level] for level in self.topology.reads]
        if self.topology.condition_resample == "up":
            return self._hidden_from_coarse(*conditions)
        condition = _beside(conditions, self.topology.resizes)
        hidden = functional.conv2d(condition, self.first, padding=self.kernel_size // 2)
        return functional.leaky_relu_(hidden, LEAKY_SLOPE)  # [B, 2C, h', w']

    def _hidden_from_coarse(self, coarse: Tensor) -> Tensor:
        batch, _, height, width = coarse.shape
        channels = len(self.first) // 4
        radius = folded_size(self.kernel_size) // 2
        phases = functional.conv2d(coarse, self.first, padding=radius)  # [B, 4·2C, h + …, w + …]
        hidden = torch.empty(
            (batch, channels, 2 * height, 2 * width),
            dtype=coarse.dtype,
            device=coarse.device,
            memory_format=CHANNELS_LAST,
        )
        by_sample, by_channel, by_row, by_column = phases.stride()
        shift = _phase_shift(self.kernel_size)
        taken = phases.as_strided(
            (batch, channels, height, 2, width, 2),
            (
                by_sample,
                by_channel,
                by_row,
                2 * channels * by_channel + shift * by_row,
                by_column,
                channels * by_channel + shift * by_column,
            ),
        )
        cells = _cells(hidden)  # [B, 2C, h, 2, w, 2]
        write_leaky_relu: Any = torch.ops.aten.leaky_relu.out
        write_leaky_relu(taken, LEAKY_SLOPE, out=cells)
        return hidden


def _phases(weight: Tensor) -> Tensor:
    """Folded weights ``[4 O, I, n, n]`` of the four phases, ``n = (k+1)/2``, without their frame.

    Phase ``(p, q)`` of a pixel is the window's result ``_phase_shift · (p, q)`` pixels further on.
    """
    size, shift = (weight.shape[-1] + 1) // 2, _phase_shift(weight.shape[-1])
    framed = fold_upsampling(weight.detach())
    framed = framed.view(2, 2, *weight.shape[:2], *framed.shape[2:])  # [2, 2, O, I, k', k']
    return torch.cat(
        [
            framed[p, q, ..., p * shift :, q * shift :][..., :size, :size]
            for p in range(2)
            for q in range(2)
        ]
    )


def _phase_shift(kernel_size: int) -> int:
    return folded_size(kernel_size) - (kernel_size + 1) // 2


def _cells(x: Tensor) -> Tensor:
    """The 2×2 cells of a map, not copied: ``[B, C, 2h, 2w]`` to ``[B, C, h, 2, w, 2]``."""
    batch, channels, height, width = x.shape
    return x.view(batch, channels, height // 2, 2, width // 2, 2)


def _beside(conditions: Sequence[Tensor], resizes: Sequence[int]) -> Tensor:
    """Levels resized by nearest neighbour, as channels of one map.

    Args:
        conditions: levels ``[B, C, h_i, w_i]``.
        resizes: of each: 1 takes every pixel twice, −1 every other pixel, 0 all as they are.
    """
    if tuple(resizes) == (0,):
        return conditions[0]
    batch, channels, height, width = conditions[0].shape
    if resizes[0] > 0:
        height, width = 2 * height, 2 * width
    elif resizes[0] < 0:
        height, width = -(-height // 2), -(-width // 2)
    condition = torch.empty(
        (batch, len(conditions) * channels, height, width),
        dtype=conditions[0].dtype,
        device=conditions[0].device,
        memory_format=CHANNELS_LAST,
    )
    for index, (x, resize) in enumerate(zip(conditions, resizes, strict=True)):
        part = condition[:, index * channels : (index + 1) * channels]
        if resize > 0:
            cells = _cells(part)  # [B, C, h, 2, w, 2]
            cells.copy_(x[:, :, :, None, :, None].expand_as(cells))
        else:
            part.copy_(x[..., ::2, ::2] if resize < 0 else x)
    return condition


class FrozenNetwork:
    """From camera pixels to the anomaly map, with everything that is constant computed before.

    Args:
        trained: the network, on any device.
        device: where it runs.
        dtype: of weights and features; accumulators are float32.
    """

    def __init__(self, trained: TrainedNetwork, device: torch.device, dtype: torch.dtype) -> None:
        network = self.network = trained.network
        self.dtype = dtype
        self.encoder = frozen_encoder(network.encoder, device, dtype)
        self.blocks = [FrozenBlock(b, device, dtype) for b in network.flow]
        self.comparison = trained.comparison.to(device, dtype)
        self.mean, self.std = torch.tensor([trained.mean, trained.std], device=device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Anomaly map.

        Args:
            images: ``[B, H, W, 3]``, uint8 or uint16, on the network's device.

        Returns:
            ``[B, h, w]``, float32.
        """
        x = ops.normalize_image(images, self.mean, self.std, self.dtype)  # [B, 3, H, W]
        features = self.encoder(x.contiguous(memory_format=CHANNELS_LAST))  # [B, C, h, w]
        levels = list(self.network.pyramid.decompose(features))
        for block in self.blocks:
            levels[block.topology.writes] = block(levels)
        padded = self.comparison.map_of(levels)
        height, width = features.shape[-2:]
        return padded[:, :height, :width].float()

"""The mean that a coupling takes from its parameters, and the way of the gradients through it."""

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyramidflow.ops.coupling.mode import SOFT_CLAMP_GAIN, CouplingMode

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels import coupling_sums as kernels
    from kernels.coupling import Coupling
else:
    from pyramidflow.kernels import coupling_sums as kernels
    from pyramidflow.kernels.coupling import Coupling


def mean_to_subtract(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    mode: CouplingMode,
) -> tuple[Tensor, bool]:
    """What the kernel reads as the mean, float32 if new; or where it writes it (``True``)."""
    batch, channels = params.shape[0], params.shape[1] // 2
    if mean is not None:
        return mean, False
    if mode.volume_norm == "none":
        return params.new_zeros((1, 1, 1, 1), dtype=torch.float32), False
    is_resized = x.shape[2:] != params.shape[2:]
    if mode[:2] == ("cvn", "sample") and not is_resized and x.numel():
        size = (batch, 1, *params.shape[2:])
        return torch.empty(size, dtype=torch.float32, device=params.device), True
    of_channels, of_pixels = _sums_buffers(params, channels)
    if of_channels.numel() and of_pixels.numel():
        clamp = clamp_factors(mode.clamp)
        kernels.soft_clamp_sums_forward(params, of_channels, of_pixels, clamp)
    else:
        of_channels.zero_()
        of_pixels.zero_()
    return _averages(of_channels, of_pixels, params, mode), False


def average_gradient(grads: tuple[Tensor, Tensor], read: Coupling, mode: CouplingMode) -> Tensor:
    """What reaches the mean, averaged over what the mean was taken over."""
    of_channels, of_pixels = _sums_buffers(read.x, read.x.shape[1])
    kernels.affine_coupling_sums_backward(read, grads, of_channels, of_pixels)
    if mode.volume_norm == "cvn" and read.is_resized:
        of_channels = _at_parameters(of_channels, read.params)
    return _averages(of_channels, of_pixels, read.params, mode)


def _sums_buffers(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    tiles = -(-x.shape[2] * x.shape[3] // kernels.SUMMED_PIXELS)
    of_channels = (x.shape[0], 1, *x.shape[2:])
    of_pixels = (x.shape[0], channels, tiles)
    return (
        torch.empty(of_channels, dtype=torch.float32, device=x.device),
        torch.empty(of_pixels, dtype=torch.float32, device=x.device),
    )


def _averages(of_channels: Tensor, of_pixels: Tensor, params: Tensor, mode: CouplingMode) -> Tensor:
    if mode.volume_norm == "cvn":
        average = of_channels / (params.shape[1] // 2)  # [B, 1, H', W']
    else:
        average = of_pixels.sum(2)[..., None, None] / (params.shape[2] * params.shape[3])
    return average.mean(0, keepdim=True) if mode.statistics == "batch" else average


def _at_parameters(of_channels: Tensor, params: Tensor) -> Tensor:
    """Sums at the level's pixels ``[B, 1, H, W]``, added where their parameters are."""
    for axis in (2, 3):
        size, params_size = of_channels.shape[axis], params.shape[axis]
        first, repeats = takers(size, params_size, params.device)
        total = torch.zeros((), dtype=torch.float32, device=params.device)
        for repeat in range(repeats):
            taker = first[:-1] + repeat
            taken = (taker < first[1:]).view((-1, 1) if axis == 2 else (-1,))
            values = of_channels.index_select(axis, taker.clamp(max=size - 1))
            total = total + torch.where(taken, values, 0.0)
        of_channels = total
    return of_channels  # [B, 1, H', W']


def clamp_factors(clamp: float) -> tuple[float, float]:
    """Factors outside and inside the arc tangent of the soft clamp."""
    return clamp * SOFT_CLAMP_GAIN, 1.0 / clamp


@cache
def _sources(size: int, params_size: int, device: torch.device) -> Tensor:
    """Parameter that each pixel of an axis takes: ``⌊i · scale⌋`` in float32, as PyTorch has it."""
    index = torch.arange(size, device=device, dtype=torch.float32)
    scale = torch.tensor(params_size / max(size, 1), dtype=torch.float32)
    return (index * scale.to(device)).to(torch.int64).clamp(max=params_size - 1)


@cache
def takers(size: int, params_size: int, device: torch.device) -> tuple[Tensor, int]:
    """First pixel that takes each parameter or a later one, and how many take one at most."""
    if size == params_size:
        every = torch.arange(params_size + 1, device=device, dtype=torch.int32)
        return every, 1
    parameters = torch.arange(params_size + 1, device=device)
    first = torch.searchsorted(_sources(size, params_size, device), parameters)
    repeats = max(1, -(-size // params_size))
    return first.to(torch.int32), repeats

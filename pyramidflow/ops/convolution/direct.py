"""Convolutions by the device's own library, and the folding of a resizing into their weights.

A convolution of a map in which every pixel stands twice needs no such map: of the ``k`` taps of a
row those that fall on the same coarse pixel are added up. Even and odd outputs (two phases) see
them differently, so that one convolution becomes one of ``⌈(k+1)/2⌉`` taps for each phase.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.allocation import dense, empty
from pyramidflow.ops.convolution.convolved import Convolved


def conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
    """Direct convolution; with ``resample="up"`` in four phases on the coarse map."""
    if resample == "up":
        return _upsampled(x, weight)
    stride = 2 if resample == "down" else 1
    y = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    return dense(y, like=x)


def _upsampled(x: Tensor, weight: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    y = empty((batch, len(weight), 2 * height, 2 * width), like=x)
    radius = folded_size(weight.shape[-1]) // 2
    padded = functional.pad(x, (radius,) * 4)  # [B, I, h + 2R, w + 2R]
    phases = fold_upsampling(weight)
    phases = phases.reshape(2, 2, *weight.shape[:2], *phases.shape[2:])  # [2, 2, O, I, k', k']
    starts = [_support(weight.shape[-1], phase) for phase in range(2)]
    for row, (top, bottom) in enumerate(starts):
        for column, (left, right) in enumerate(starts):
            taps = phases[row, column, :, :, top:bottom, left:right]
            rows = slice(top, top + height + bottom - top - 1)
            columns = slice(left, left + width + right - left - 1)
            y[:, :, row::2, column::2] = functional.conv2d(padded[:, :, rows, columns], taps)
    return y


def conv2d_backward(grad_y: Tensor, convolved: Convolved) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`conv2d`; what is not needed is empty."""
    x, weight, resample, need_x, need_weight = convolved
    fine = functional.interpolate(x, scale_factor=2, mode="nearest") if resample == "up" else x
    stride, padding = 2 if resample == "down" else 1, weight.shape[-1] // 2
    grad_fine, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad_y,
        fine,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        1,
        [need_x, need_weight, False],
    )
    if need_x and resample == "up":
        batch, channels, height, width = x.shape
        grad_fine = grad_fine.reshape(batch, channels, height, 2, width, 2).sum((3, 5))
    return (
        dense(grad_fine, like=x) if need_x else x.new_empty(0),
        grad_weight.contiguous() if need_weight else weight.new_empty(0),
    )


def folded_size(kernel: int) -> int:
    """Taps of a row of :func:`fold_upsampling`'s weights: odd, the two phases' share a frame."""
    return 2 * ((kernel // 2 + 1) // 2) + 1


@cache
def _fold_matrix(kernel: int) -> Tensor:
    """``[2, k', k]``: 1 where tap ``u`` of a phase falls on coarse tap ``a``."""
    radius, size = kernel // 2, folded_size(kernel)
    matrix = torch.zeros(2, size, kernel)
    for phase in range(2):
        for tap in range(kernel):
            matrix[phase, (phase + tap - radius) // 2 + size // 2, tap] = 1
    return matrix


def _support(kernel: int, phase: int) -> tuple[int, int]:
    used = _fold_matrix(kernel)[phase].any(1).nonzero()
    return int(used[0]), int(used[-1]) + 1


def fold_upsampling(weight: Tensor) -> Tensor:
    """Weights on the coarse map of a convolution behind a ×2 nearest up-sampling.

    Args:
        weight: ``[O, I, k, k]``.

    Returns:
        ``[4 O, I, k', k']``, phase by phase: (even, even), (even, odd), (odd, even), (odd, odd).
    """
    fold = _fold_matrix(weight.shape[-1]).to(weight)
    folded = torch.einsum("pau,qbv,oiuv->pqoiab", fold, fold, weight)  # [2, 2, O, I, k', k']
    return folded.flatten(0, 2)


def unfold_gradient(grad: Tensor, kernel: int) -> Tensor:
    """Adjoint of :func:`fold_upsampling`: ``[4 O, I, k', k']`` to ``[O, I, k, k]``."""
    fold = _fold_matrix(kernel).to(grad)
    split = grad.reshape(2, 2, -1, *grad.shape[1:])  # [2, 2, O, I, k', k']
    return torch.einsum("pau,qbv,pqoiab->oiuv", fold, fold, split)


def phases_of(y: Tensor) -> Tensor:
    """Pixels of 2×2 cells as channels, phase by phase: ``[B, O, 2h, 2w]`` to ``[B, 4 O, h, w]``."""
    batch, channels, height, width = y.shape
    cells = y.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)  # [B, 4 O, h, w]

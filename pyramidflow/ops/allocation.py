"""Memory of the operations' results: the one place where it is allocated.

A result takes the memory format of the tensor it is like. Every backend and every fake function
allocates here, so that real and fake results agree, and so that a test can fill the memory with NaN
and see a pixel that a kernel forgot.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels-last if ``x`` is dense in that order and not in the contiguous one."""
    if (
        x.dim() == 4
        and not x.is_contiguous()
        and x.is_contiguous(memory_format=torch.channels_last)
    ):
        return torch.channels_last
    return torch.contiguous_format


def dense(x: Tensor, like: Tensor) -> Tensor:
    """``x`` in the memory format of ``like``; copied only if it is in another one."""
    return x.contiguous(memory_format=memory_format(like))


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised result on the device of ``like``, four dimensions in its memory format."""
    layout = memory_format(like) if len(shape) == 4 else torch.contiguous_format
    return torch.empty(
        tuple(shape), dtype=dtype or like.dtype, device=like.device, memory_format=layout
    )

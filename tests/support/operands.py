"""Tensors to call operations with, and the backends to call them on."""

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.ops import dispatch


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def available() -> list[str]:
    """Backends that take CPU tensors here."""
    return [
        r.name for r in ops.backends() if r.available and not dispatch.load(r.name).refusal("cpu")
    ]

"""Tensors on another device, as they lie in memory here."""

from typing import Any

import torch
from torch import Tensor


def moved(value: Any, device: str) -> Any:
    """Tensors, in lists too, with their strides and offsets: ``to`` would make them dense."""
    if isinstance(value, list | tuple):
        return [moved(v, device) for v in value]
    if not isinstance(value, Tensor):
        return value
    elements = value.untyped_storage().nbytes() // value.element_size()
    memory = torch.as_strided(value, (elements,), (1,), 0).to(device)
    return memory.as_strided(value.shape, value.stride(), value.storage_offset())

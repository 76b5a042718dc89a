"""One element type for all operands of an operation."""

from functools import reduce

import torch
from torch import Tensor


def promoted(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the type that holds them all."""
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    return [x.to(dtype) for x in tensors]

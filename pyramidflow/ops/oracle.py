"""What the families' oracles share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops.allocation import dense


def gradients(
    forward: Callable[..., Any], inputs: Sequence[Tensor], grads: Any
) -> tuple[Tensor, ...]:
    """Gradients of the inputs from those of the results, by autograd.

    Args:
        forward: from the inputs to a result or a tuple of them.
        inputs: tensors.
        grads: of the results, nested as they are.
    """
    # Autograd is off below the dispatcher; a functional vector-Jacobian product brings its own.
    vjp = torch.func.vjp(forward, *inputs)[1]
    found: tuple[Tensor, ...] = vjp(grads)
    return found


def owned(y: Tensor, like: Tensor) -> Tensor:
    """``y`` in the memory format of ``like``, and in memory of its own."""
    result = dense(y, like)
    return result.clone() if result.data_ptr() == y.data_ptr() else result

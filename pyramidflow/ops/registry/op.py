"""A row of the table of operations, and what the rows have in common."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation

NAMESPACE = "pyramidflow"

NAMESPACE_OPS: Any = torch.ops.pyramidflow
"""The registered operations."""


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        schema: name, arguments and results, as ``torch.library`` writes them.
        check: refuses arguments that the backends cannot take, by an ``InputError``.
        fake: results without values, from the same arguments.
        save: keeps in the autograd context what ``backward`` needs; ``None`` keeps nothing.
        backward: gradients of the arguments from those of the results; ``None`` refuses.
        apart: tensors that need not be of the first one's element type.
    """

    schema: str
    check: Callable[..., None]
    fake: Callable[..., Any]
    save: Callable[..., None] | None = None
    backward: Callable[..., Any] | None = None
    apart: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the operation, as in ``torch.ops.pyramidflow``."""
        return self.schema.partition("(")[0]

    @property
    def alike(self) -> list[tuple[int, str]]:
        """Place and name of each tensor, or list of them, that is of the first one's type."""
        arguments = self.schema.partition(" -> ")[0].partition("(")[2].rstrip(")").split(",")
        tensors = [re.match(r"\s*Tensor\S*\s+(\w+)", argument) for argument in arguments]
        return [(i, m[1]) for i, m in enumerate(tensors) if m and m[1] not in self.apart]


def empty_like(x: Tensor) -> Tensor:
    """A result of the size and type of ``x``."""
    return allocation.empty(x.shape, like=x)


def nothing(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A result without elements."""
    return allocation.empty((0,), like=like, dtype=dtype)

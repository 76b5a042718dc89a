"""Results in memory that starts as NaN, between guards that no kernel may touch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from pyramidflow.ops import allocation

GUARD = 4096
"""Elements on either side of a result."""

KEPT = 16
"""Results whose guards are looked at later: more than any operation has."""


class GuardedMemory:
    """In place of :func:`pyramidflow.ops.allocation.empty`."""

    def __init__(self) -> None:
        self._allocate = allocation.empty
        self._kept: list[Tensor] = []

    def empty(self, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A result full of NaN, or of 255."""
        plain = self._allocate(shape, like, dtype)
        value = torch.nan if plain.is_floating_point() else 255
        memory = plain.new_full((plain.numel() + 2 * GUARD,), value)
        if len(self._kept) == KEPT:
            self._check(self._kept.pop(0))
        self._kept.append(memory)
        return memory.as_strided(plain.shape, plain.stride(), GUARD)

    def check(self) -> None:
        """Find a kernel that wrote outside of its results."""
        while self._kept:
            self._check(self._kept.pop())

    @staticmethod
    def _check(memory: Tensor) -> None:
        guards = torch.cat([memory[:GUARD], memory[-GUARD:]])
        untouched = guards.isnan() if guards.is_floating_point() else guards == 255
        assert untouched.all(), "a kernel wrote outside of its result"


@contextmanager
def guarded_memory() -> Iterator[None]:
    """Results of operations in such memory, which is looked at in the end."""
    memory = GuardedMemory()
    with mock.patch.object(allocation, "empty", memory.empty):
        yield
    memory.check()

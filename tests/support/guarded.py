"""Results in NaN, between guards that no kernel may touch, and operands surrounded by NaN."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pyramidflow.ops import allocation

GUARD = 4096
"""Elements on either side of a tensor."""

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
        if plain.is_meta:
            return plain
        memory = _filled(plain, plain.numel())
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


def surrounded(value: Any) -> Any:
    """Tensors, in lists too, with their strides: NaN, or 255, before, behind and between elements.

    A kernel that reads there, if only to multiply by zero, gives NaN.
    """
    if isinstance(value, list | tuple):
        return type(value)(surrounded(v) for v in value)
    if not isinstance(value, Tensor):
        return value
    last = sum((n - 1) * stride for n, stride in zip(value.shape, value.stride(), strict=True))
    memory = _filled(value, last + 1 if value.numel() else 0)
    copy = memory.as_strided(value.shape, value.stride(), GUARD)
    once = tuple(slice(None) if stride else slice(1) for stride in value.stride())  # if expanded
    copy[once] = value[once]
    return copy


def _filled(like: Tensor, elements: int) -> Tensor:
    value = torch.nan if like.is_floating_point() else 255
    return like.new_full((elements + 2 * GUARD,), value)

"""The processes that train one network together, as the training sees them."""

from typing import Protocol

from torch import Tensor


class Parallel(Protocol):
    """A process among those of a training.

    Attributes:
        rank: number of this process, from 0 on; 0 writes files and tells how it goes.
        world: how many processes there are.
    """

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def world(self) -> int:
        """How many processes there are."""

    def reduce(self, *tensors: Tensor) -> None:
        """Replace the values of tensors by their means over all processes."""

    def barrier(self) -> None:
        """Wait until all processes are here."""


class OneProcess:
    """A training in this process alone: every mean is the value itself."""

    rank = 0
    world = 1

    def reduce(self, *tensors: Tensor) -> None:
        """Leave the values as they are."""

    def barrier(self) -> None:
        """Wait for nobody."""

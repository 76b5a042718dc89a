"""The processes that train one network together, as the training sees them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

_Item = TypeVar("_Item")


class Parallel(Protocol):
    """A process among those of a training.

    Every method but the last is called by all processes, in the same order: each waits for the
    others.

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

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace the values of tensors by their sums over all processes."""

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace the values of tensors by those of process 0."""

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows ``[n, F]`` of all processes, one process behind the other: ``[N, F]``.

        ``n`` may differ. The gradient of the result reaches the rows of this process alone.
        """

    def united(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over all processes by name; a process may lack some names."""

    def texts(self, text: str) -> list[str]:
        """What each process says, in the order of their numbers."""

    def any(self, said: bool) -> bool:
        """Whether one of the processes says so."""

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def told(self, find: Callable[[], str]) -> str:
        """What process 0 finds: the others wait for it, however long that takes."""

    def fails_first(self) -> bool:
        """Whether this process is the first that fails, which alone says why: waits for nobody."""


class OneProcess:
    """A training in this process alone."""

    rank = 0
    world = 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Leave the values as they are."""

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Leave the values as they are."""

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows themselves."""
        return rows

    def united(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors themselves."""
        return dict(parts)

    def texts(self, text: str) -> list[str]:
        """The text itself."""
        return [text]

    def any(self, said: bool) -> bool:
        """What this process says."""
        return said

    def barrier(self) -> None:
        """Wait for nobody."""

    def told(self, find: Callable[[], str]) -> str:
        """What this process finds."""
        return find()

    def fails_first(self) -> bool:
        """No other process can have failed."""
        return True


def share(batch: Sequence[_Item], parallel: Parallel) -> Sequence[_Item]:
    """The part of a batch that falls to this process.

    Parts differ by one at most, and one behind the other they are the batch: where there are fewer
    images than processes, some have none.
    """
    start = len(batch) * parallel.rank // parallel.world
    end = len(batch) * (parallel.rank + 1) // parallel.world
    return batch[start:end]


def rounds(count: int, parallel: Parallel) -> Iterator[tuple[int | None, int]]:
    """Go through images together, one for each process at a time.

    Args:
        count: of the images.
        parallel: the processes.

    Yields:
        The number of the image that falls to this process, ``None`` where there is none left for
        it, and how many images all processes have in this round.
    """
    for start in range(0, count, parallel.world):
        left = min(parallel.world, count - start)
        yield (start + parallel.rank if parallel.rank < left else None), left

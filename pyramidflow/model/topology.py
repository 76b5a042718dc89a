"""Which levels of the pyramid each coupling block reads, how they are resized, what it writes.

The only place that knows: network, runtimes, tiling and training follow these data, so a new kind
of block is a function here. Nothing heavy is imported.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BlockTopology:
    """The place of a coupling block in the pyramid.

    The levels that it reads are resized (nearest neighbour) to the size of level ``at``, where they
    are the channels of one condition; ``s0`` and ``t`` are computed there, resized to the level
    that it writes, and transform that.

    Attributes:
        kind: as plans and messages call it.
        reads: levels, in the order of their channels.
        at: level at whose size the parameters are computed.
        writes: level that is transformed.

    Raises:
        ValueError: the block reads what it writes, so it has no inverse, or resizes by more than 2.
    """

    kind: str
    reads: tuple[int, ...]
    at: int
    writes: int

    def __post_init__(self) -> None:
        if self.writes in self.reads:
            raise ValueError(f"block {self}: it reads what it writes, so it has no inverse.")
        if {*self.resizes, self.at - self.writes} - {-1, 0, 1} or self.at > self.writes:
            raise ValueError(
                f"block {self} at level {self.at}: conditions are resized by 2 at most, parameters "
                "down by 2 at most."
            )

    @property
    def resizes(self) -> tuple[int, ...]:
        """Of what is read: 1 takes every pixel twice, −1 every other pixel, 0 all as they are."""
        return tuple(level - self.at for level in self.reads)

    @property
    def condition_resample(self) -> Literal["none", "up"]:
        """``"up"`` where the whole condition is up-sampled: a convolution can do that itself."""
        return "up" if self.resizes == (1,) else "none"

    @property
    def params_resample(self) -> Literal["none", "down"]:
        """``"down"`` where every other pixel of the parameters is wanted."""
        return "down" if self.at < self.writes else "none"

    def __str__(self) -> str:
        """As ``dual 0, 2 → 1``."""
        return f"{self.kind} {', '.join(map(str, self.reads))} → {self.writes}"


def dual(start: int) -> BlockTopology:
    """Levels ``j`` and ``j+2`` transform level ``j+1`` (figure 3(d))."""
    return BlockTopology("dual", reads=(start, start + 2), at=start + 1, writes=start + 1)


def up() -> BlockTopology:
    """Level 1, up-sampled before the convolutions, transforms level 0."""
    return BlockTopology("up", reads=(1,), at=0, writes=0)


def down(start: int) -> BlockTopology:
    """Level ``j`` transforms level ``j+1``; the parameters are resized after the convolutions."""
    return BlockTopology("down", reads=(start,), at=start, writes=start + 1)


def stack(levels: int) -> list[BlockTopology]:
    """The blocks of one stack, in the order in which they run.

    For ``j = 0, 2, 4, …`` a dual block on levels ``j, j+1, j+2`` where they exist, else a single
    block down from ``j`` to ``j+1``; then the single block up from 1 to 0; then the same for
    ``j = 1, 3, 5, …``. A pyramid of ``L`` levels gives ``L`` blocks.

    Source: paper figure 3(b), 3(d).
    """

    def reverse_parallel(first: int) -> list[BlockTopology]:
        return [dual(j) if j + 2 < levels else down(j) for j in range(first, levels - 1, 2)]

    return [*reverse_parallel(0), up(), *reverse_parallel(1)]


def blocks(levels: int, stacks: int) -> list[BlockTopology]:
    """All blocks of a flow, in the order in which they run."""
    return stack(levels) * stacks

"""Parts, counted by what the line said of them."""

from dataclasses import dataclass
from typing import Protocol


class Told(Protocol):
    """What a part is counted by: a record, or a row of the history."""

    @property
    def verdict(self) -> str | None:
        """Its verdict; ``None`` where there is none."""

    @property
    def late(self) -> bool:
        """Whether it came after its deadline."""

    @property
    def dropped(self) -> bool:
        """Whether it was let go unseen."""


@dataclass
class Counts:
    """Parts by what came of them.

    Attributes:
        ok: verdicts.
        review: verdicts.
        ng: verdicts.
        errors: parts without a verdict, but those that were dropped.
        late: parts that came after their deadline, whatever their verdict.
        dropped: parts that were let go unseen.
    """

    ok: int = 0
    review: int = 0
    ng: int = 0
    errors: int = 0
    late: int = 0
    dropped: int = 0

    @property
    def inspected(self) -> int:
        """Parts with a verdict."""
        return self.ok + self.review + self.ng

    def add(self, part: Told) -> None:
        """Count a part."""
        self.ok += part.verdict == "ok"
        self.review += part.verdict == "review"
        self.ng += part.verdict == "ng"
        self.errors += part.verdict is None and not part.dropped
        self.late += part.late
        self.dropped += part.dropped

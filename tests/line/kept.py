"""A sink that keeps what it gets, and an outbox that delivers to sinks."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pyramidflow.line.outbox.outbox import Limits, Outbox
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkRefused, SinkSettings

Problem = Callable[[Sequence[Entry]], None]
"""Asked before each delivery; what it raises is why that fails."""


def away(entries: Sequence[Entry]) -> None:
    """A sink's problem: it cannot be reached."""
    raise SinkAway("the host is away")


def refuses(entries: Sequence[Entry]) -> None:
    """A sink's problem: it wants none of them."""
    raise SinkRefused("answer 422")


def takes(entries: Sequence[Entry]) -> None:
    """No problem."""


class Kept(Sink):
    """A sink that remembers what it gets; ``problem`` is asked before each delivery."""

    Settings = SinkSettings

    def __init__(
        self,
        wanted: Sequence[str] = (),
        stations: tuple[str, ...] = (),
        problem: Problem = takes,
    ) -> None:
        super().__init__(SinkSettings(stations=stations))
        self.entries: list[Entry] = []
        self.wanted = wanted
        self.problem = problem
        self.ticks = 0
        self.is_closed = False

    @property
    def identities(self) -> list[str]:
        return [entry.record["identity"] for entry in self.entries]

    def pictures(self, record: Record) -> dict[str, str]:
        return {kind: f"{record.identity}.{kind}" for kind in self.wanted}

    def deliver(self, entries: Sequence[Entry]) -> None:
        self.problem(entries)
        self.entries += entries

    def tick(self) -> None:
        self.ticks += 1

    def close(self) -> None:
        self.is_closed = True


def started(store: Path, limits: Limits | None = None, **sinks: Sink) -> Outbox:
    """An outbox that delivers to sinks, by their names."""
    outbox = Outbox(store, sinks, limits or Limits())
    outbox.start()
    return outbox

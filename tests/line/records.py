"""Records and sinks for tests of the line."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkSettings

START = datetime(2026, 3, 1, 6, 0, 0, 250_000, tzinfo=timezone.utc)


def record(number: int, **parts: Any) -> Record:
    """The record of a good part, taken so many seconds after the start."""
    findings = {"score": 1.5, "threshold": 2.0, "verdict": "ok", "regions": []}
    known: dict[str, Any] = {
        "path": f"in/{number:05}.png",
        "findings": findings,
        "identity": f"{number:05}.png",
        "station": "press",
        "time": START + timedelta(seconds=number),
        "detector": "ab" * 32,
        "times": {"decoding": 1.25, "inspecting": 9.5, "total": 12.125},
        "queues": {"decode": 1},
    }
    return Record(**{**known, **parts})


def records(count: int, **parts: Any) -> list[Record]:
    """Records of good parts, numbered from 0."""
    return [record(number, **parts) for number in range(count)]


def entries(count: int, **parts: Any) -> list[Entry]:
    """Records as sinks get them."""
    return [Entry(item.as_dict()) for item in records(count, **parts)]


def outgoing(items: Sequence[Record], **pictures: bytes) -> list[Outgoing]:
    """Records with the same pictures, as the outbox takes them."""
    return [Outgoing(item, pictures) for item in items]


def rows(store: Path, query: str) -> list[Any]:
    """What a question to a store gives."""
    with sqlite3.connect(store) as connection:
        return connection.execute(query).fetchall()


def away(entries: Sequence[Entry]) -> None:
    """A sink's problem: it cannot be reached."""
    raise SinkAway("the host is away")


def eventually(is_so: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something becomes so within a time."""
    until = monotonic() + seconds
    while not is_so():
        if monotonic() > until:
            return False
        sleep(0.01)
    return True


class Kept(Sink):
    """A sink that remembers what it gets; ``problem`` is asked before each delivery."""

    Settings = SinkSettings

    def __init__(self, wanted: Sequence[str] = (), stations: tuple[str, ...] = ()) -> None:
        super().__init__(SinkSettings(stations=stations))
        self.entries: list[Entry] = []
        self.wanted = wanted
        self.problem: Callable[[Sequence[Entry]], None] = lambda entries: None
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

"""Records for tests of the line."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Entry

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
        "times": {"reading": 1.25, "inspecting": 9.5, "total": 12.125},
        "queues": {"decoding": 1},
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


def eventually(is_so: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something becomes so within a time."""
    until = monotonic() + seconds
    while not is_so():
        if monotonic() > until:
            return False
        sleep(0.01)
    return True

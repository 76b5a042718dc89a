"""The outbox's tables in a line's SQLite file: deliveries, pictures, refusals, identities.

A delivery is a row that waits: a sink's name and a part of the history. A delivered one is
removed; a refused one moves to a table of its own with the reason. Pictures wait beside them until
the last sink that wants them has them. ``resent`` counts what another process let wait again.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import now
from pyramidflow.line.history.columns import part_columns, record_text, sqlite_time
from pyramidflow.line.outbox.kept import Kept, Waiting
from pyramidflow.line.record import Record

_VERSION: Final = 2
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS deliveries (
    sink TEXT NOT NULL, part INTEGER NOT NULL, kinds TEXT NOT NULL,
    PRIMARY KEY (sink, part)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_of_part ON deliveries (part);
CREATE TABLE IF NOT EXISTS pictures (
    part INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (part, kind));
CREATE TABLE IF NOT EXISTS refused (
    sink TEXT NOT NULL, part INTEGER NOT NULL, reason TEXT NOT NULL, time TEXT NOT NULL,
    PRIMARY KEY (sink, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remembered (
    station TEXT NOT NULL, identity TEXT NOT NULL,
    PRIMARY KEY (station, identity)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resent (number INTEGER NOT NULL);
INSERT INTO resent SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM resent);
"""
_ADD_PARTS: Final = (
    "INSERT INTO parts (station, identity, time, path, verdict, score, threshold, detector, error, "
    "late, dropped, milliseconds, record)"
)
_MOST_VARIABLES: Final = 900
_BUSY_MILLISECONDS: Final = 60_000
_LARGEST_JOURNAL: Final = 64_000_000
_CACHED_KIBIBYTES: Final = 512
"""Of pages, for each connection: what a line reads and writes lies at the end of the tables. The
usual 2000 of SQLite, for each of many connections, would fill over hours."""

_PICTURE_BYTES_AT_ONCE: Final = 4_000_000
"""Of one delivery: what a sink that falls behind takes of the memory, with the last picture."""

PRUNED_AT_ONCE: Final = 1000
"""Parts of the history: so that nobody waits long."""


class Shared:
    """What the connections of a process have in common: one writes at a time, all count.

    Attributes:
        writing: held by the one that writes. SQLite alone would let the others
            sleep and look again.
        deliveries: rows that wait.
        picture_bytes: of their pictures.
        resent: rows among all that ever waited which another process added.
    """

    def __init__(self) -> None:
        self.writing = threading.Lock()
        self.deliveries = 0
        self.picture_bytes = 0
        self.resent = 0
        self._changing = threading.Lock()

    def add(self, deliveries: int, picture_bytes: int) -> None:
        """Add to both; less than nothing takes away."""
        with self._changing:
            self.deliveries += deliveries
            self.picture_bytes += picture_bytes


class Spool:
    """A connection to the outbox's tables, for one thread at a time.

    Args:
        path: of the store; the history's tables exist.
        shared: of a connection that this process has already; ``None`` counts what waits.

    Raises:
        InputError: the tables are of a newer version.
        sqlite3.Error: the file cannot be opened.
    """

    def __init__(self, path: Path, shared: Shared | None = None) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = FULL")  # a commit waits for the disk
        self._execute(f"PRAGMA journal_size_limit = {_LARGEST_JOURNAL}")
        self._execute(f"PRAGMA cache_size = -{_CACHED_KIBIBYTES}")
        [[version]] = self._execute("PRAGMA user_version")
        if version > _VERSION:
            raise InputError(
                f"{printable(path)} has an outbox of version {version} where this program knows "
                f"{_VERSION}: update the program, or name another store."
            )
        if version < _VERSION:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        [[self._has_remembered]] = self._execute("SELECT EXISTS (SELECT 1 FROM remembered)")
        self.shared = self._counted() if shared is None else shared

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def commit_without_sync(self) -> None:
        """Let commits not wait for the disk: for removals, which may come twice."""
        self._execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all or nothing, on the disk when the context ends."""
        with self.shared.writing:
            self._execute("BEGIN IMMEDIATE")
            resent = self._resent()
            self._added = [resent - self.shared.resent, 0]
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")
                raise
            self.shared.resent = resent
        self.shared.add(*self._added)

    def add(self, kept: Sequence[Kept]) -> None:
        """Add records to the history with their deliveries; those that are known are left out.

        Args:
            kept: with identities.

        Raises:
            ValueError: a number of an inspection is not finite.
        """
        # Few statements for many rows: after each one a thread may wait long for the interpreter.
        parts = [(_part_row(item.record), item) for item in kept]
        parts = [(row, item) for row, item in parts if not self._is_remembered(*row[:2])]
        if not parts:
            return
        rows = [row for row, _ in parts]
        wanted = [
            (*row[:2], sink, ",".join(kinds))
            for row, item in parts
            for sink, kinds in item.wanted.items()
        ]
        with self.transaction():
            [[last]] = self._execute("SELECT coalesce(max(id), 0) FROM parts")
            for some in _groups(rows):
                self._execute(
                    f"{_ADD_PARTS} VALUES {_marks(some)} "
                    "ON CONFLICT (station, identity) DO NOTHING",
                    list(chain.from_iterable(some)),
                )
            for some in _groups(wanted):
                added = self._execute(
                    "INSERT INTO deliveries (sink, part, kinds) "
                    f"WITH wanted (station, identity, sink, kinds) AS (VALUES {_marks(some)}) "
                    "SELECT sink, id, kinds FROM wanted JOIN parts "
                    "USING (station, identity) WHERE id > ? ON CONFLICT (sink, part) DO NOTHING",
                    [*chain.from_iterable(some), last],
                )
                self._added[0] += added.rowcount
            for (station, identity, *_), item in parts:
                self._add_pictures(station, identity, item, last)

    def _add_pictures(self, station: str, identity: str, item: Kept, last: int) -> None:
        kinds = sorted({kind for kinds in item.wanted.values() for kind in kinds})
        for kind in kinds:
            added = self._execute(
                "INSERT INTO pictures (part, kind, data) SELECT id, ?, ? FROM parts "
                "WHERE station = ? AND identity = ? AND id > ? ON CONFLICT (part, kind) DO NOTHING",
                (kind, item.pictures[kind], station, identity, last),
            )
            self._added[1] += added.rowcount * len(item.pictures[kind])

    def next(self, sink: str, most: int) -> list[Waiting]:
        """What waits longest for a sink, in order.

        Args:
            sink: its name.
            most: records at once; fewer where their pictures are many bytes.
        """
        [[text]] = self._execute(
            "SELECT '[' || group_concat('[' || part || ',\"' || kinds || '\",' || record || ']') "
            "|| ']' FROM (SELECT part, kinds, record FROM deliveries JOIN parts ON parts.id = part "
            "WHERE sink = ? ORDER BY part LIMIT ?)",
            (sink, most),
        )
        found, size = [], 0
        rows = [] if text is None else json.loads(text)
        for part, kinds, record in sorted(rows, key=itemgetter(0)):
            pictures = self._pictures(part, kinds.split(",")) if kinds else {}
            found.append(Waiting(part, record, pictures))
            size += sum(map(len, pictures.values()))
            if size > _PICTURE_BYTES_AT_ONCE:
                break
        return found

    def remove(self, sink: str, delivered: Sequence[int]) -> None:
        """Remove deliveries, and the pictures that nobody waits for any more.

        Args:
            sink: its name.
            delivered: parts.
        """
        with self.transaction():
            self._remove(sink, delivered)

    def set_aside(self, sink: str, part: int, reason: str) -> None:
        """Set a delivery aside that its sink refuses.

        Args:
            sink: its name.
            part: the part.
            reason: what the sink said.
        """
        with self.transaction():
            self._execute(
                "INSERT OR REPLACE INTO refused (sink, part, reason, time) VALUES (?, ?, ?, ?)",
                (sink, part, reason, sqlite_time(now())),
            )
            self._remove(sink, [part])

    def make_room(self) -> None:
        """Move the log into the file, so that the log's place on the disk can be used again."""
        with self.shared.writing:
            self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def waiting(self) -> dict[str, tuple[int, str]]:
        """How many deliveries wait for each sink, and the time of the oldest part, in UTC."""
        rows = self._execute(
            "SELECT sink, count, time FROM (SELECT sink, count(*) AS count, min(part) AS first "
            "FROM deliveries GROUP BY sink) JOIN parts ON parts.id = first"
        )
        return {sink: (count, oldest) for sink, count, oldest in rows}

    def refused(self) -> dict[str, int]:
        """How many deliveries each sink refused."""
        return dict(self._execute("SELECT sink, count(*) FROM refused GROUP BY sink").fetchall())

    def known(self, station: str, identities: Sequence[str]) -> set[str]:
        """Those of a station's identities that have or had a record."""
        found: set[str] = set()
        for start in range(0, len(identities), _MOST_VARIABLES):
            some = identities[start : start + _MOST_VARIABLES]
            marks = ", ".join("?" * len(some))
            for table in ("parts", "remembered"):
                rows = self._execute(
                    f"SELECT identity FROM {table} WHERE station = ? AND identity IN ({marks})",
                    (station, *some),
                )
                found.update(identity for [identity] in rows)
        return found

    def earlier(self, station: str, identity: str) -> dict[str, Any] | None:
        """The record of a station's identity; ``None`` where the history has none."""
        row = self._execute(
            "SELECT record FROM parts WHERE station = ? AND identity = ?", (station, identity)
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def prune(self, before: datetime, can_come_again: Callable[[str, str], bool]) -> int:
        """Remove delivered parts from the history, and remember those that can come again.

        Args:
            before: parts that are older.
            can_come_again: whether a station's source may bring an identity once more.

        Returns:
            How many were removed; at most :data:`PRUNED_AT_ONCE`.
        """
        with self.transaction():
            rows = self._execute(
                "SELECT id, station, identity FROM parts WHERE time < ? "
                "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE part = parts.id) "
                "AND NOT EXISTS (SELECT 1 FROM refused WHERE part = parts.id) "
                "ORDER BY time LIMIT ?",
                (sqlite_time(before), PRUNED_AT_ONCE),
            ).fetchall()
            remembered = [part for _, *part in rows if can_come_again(*part)]
            for part in remembered:
                self._execute(
                    "INSERT OR IGNORE INTO remembered (station, identity) VALUES (?, ?)", part
                )
            for number, *_ in rows:
                self._execute("DELETE FROM parts WHERE id = ?", (number,))
        self._has_remembered = self._has_remembered or bool(remembered)
        return len(rows)

    def forget_but(self, station: str, present: set[str]) -> int:
        """Forget a station's remembered identities, except some; says how many."""
        rows = self._execute("SELECT identity FROM remembered WHERE station = ?", (station,))
        gone = [identity for [identity] in rows if identity not in present]
        with self.transaction():
            for identity in gone:
                self._execute(
                    "DELETE FROM remembered WHERE station = ? AND identity = ?",
                    (station, identity),
                )
        return len(gone)

    def _remove(self, sink: str, delivered: Sequence[int]) -> None:
        parts = f"({', '.join(map(str, delivered))})"
        removed = self._execute(
            f"DELETE FROM deliveries WHERE sink = ? AND part IN {parts}", (sink,)
        )
        self._added[0] -= removed.rowcount
        unwanted = (
            f"FROM pictures WHERE part IN {parts} AND NOT EXISTS "
            "(SELECT 1 FROM deliveries d WHERE d.part = pictures.part AND instr(d.kinds, kind))"
        )
        [[size]] = self._execute(f"SELECT coalesce(sum(length(data)), 0) {unwanted}")
        if size:
            self._execute(f"DELETE {unwanted}")
            self._added[1] -= size

    def _pictures(self, part: int, kinds: Sequence[str]) -> dict[str, bytes]:
        rows = self._execute("SELECT kind, data FROM pictures WHERE part = ?", (part,))
        return {kind: data for kind, data in rows if kind in kinds}

    def _is_remembered(self, station: str, identity: str) -> bool:
        if not self._has_remembered:
            return False
        rows = self._execute(
            "SELECT 1 FROM remembered WHERE station = ? AND identity = ?", (station, identity)
        )
        return rows.fetchone() is not None

    def _counted(self) -> Shared:
        shared = Shared()
        self._execute("BEGIN")
        [[deliveries]] = self._execute("SELECT count(*) FROM deliveries")
        [[picture_bytes]] = self._execute("SELECT coalesce(sum(length(data)), 0) FROM pictures")
        shared.resent = self._resent()
        self._execute("COMMIT")
        shared.add(deliveries, picture_bytes)
        return shared

    def _resent(self) -> int:
        [[number]] = self._execute("SELECT number FROM resent")
        return int(number)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _part_row(record: Record) -> tuple[Any, ...]:
    content = record.as_dict()
    columns = part_columns(content)
    columns["time"] = sqlite_time(columns["time"])
    return (*columns.values(), record_text(content))


def _groups(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Rows in groups whose values one statement takes."""
    if rows:
        most = _MOST_VARIABLES // len(rows[0])
        yield from (rows[start : start + most] for start in range(0, len(rows), most))


def _marks(rows: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))


def is_no_room(error: sqlite3.Error) -> bool:
    """Whether a write failed for want of room on the disk."""
    # A log that cannot grow is reported as an input/output error by some file systems.
    return isinstance(error, sqlite3.OperationalError) and any(
        said in str(error) for said in ("disk is full", "disk I/O error")
    )

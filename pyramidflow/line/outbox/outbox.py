"""The durable outbox: what every sink still has to get, safe on the disk before a part counts."""

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import now
from pyramidflow.line.history.store import Store, sqlite_url
from pyramidflow.line.outbox.deliverer import Deliverer
from pyramidflow.line.outbox.kept import Kept
from pyramidflow.line.outbox.spool import PRUNED_AT_ONCE, Spool, is_no_room
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Sink

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_PRUNINGS: Final = 60.0
_SECONDS_TO_THE_REST: Final = 1.0
"""Between prunings while there is more to remove: faster than any line records."""

_LAST_WORDS: Final = 5.0
"""Seconds that a sink gets beyond the time, to come back from what it is doing."""


class OutboxFull(Exception):  # noqa: N818 - it is a state
    """There is no room for a record: put it again later, and take no further part meanwhile."""


@dataclass(frozen=True)
class Outgoing:
    """A record with the pictures that were drawn for it.

    Attributes:
        record: its ``pictures`` name the place of each kind.
        pictures: encoded, by kind.
    """

    record: Record
    pictures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How much may wait, and how long the history goes back.

    Where pictures would go beyond their limits, records are kept without them and say so. Where
    records would, :class:`OutboxFull` holds up the line: no record is ever dropped.

    Attributes:
        picture_bytes: of pictures that wait.
        records: deliveries that wait, over all sinks.
        reserve_bytes: free room on the disk that is left to records.
        history_days: how long a delivered record stays in the history; ``None`` for ever.
    """

    picture_bytes: int = 2_000_000_000
    records: int = 5_000_000
    reserve_bytes: int = 500_000_000
    history_days: float | None = None


class Outbox:
    """Records on their way to the sinks, and the history, in one SQLite file.

    :meth:`put` returns when its records survive a power failure. A thread for each sink takes them
    from the file, in order, and removes them once the sink has them. So a sink that is away loses
    nothing and delays nobody. A crash between a delivery and its removal brings the same records
    again: sinks tell them by station and identity.

    The caller holds the lock on the file; other processes may read it.

    Args:
        path: made where it is missing.
        sinks: by name; deliveries that wait for another name stay in the file.
        limits: how much may wait.
        can_come_again: whether a station's source may bring an identity once more, after its record
            left the history; by default any may.

    Raises:
        InputError: the file cannot be opened, is no store, or was made by a newer version.
    """

    def __init__(
        self,
        path: Path,
        sinks: Mapping[str, Sink],
        limits: Limits | None = None,
        can_come_again: Callable[[str, str], bool] = lambda station, identity: True,
    ) -> None:
        self._path = path
        self._sinks = dict(sinks)
        self._limits = Limits() if limits is None else limits
        self._can_come_again = can_come_again
        # The history's tables first: the outbox's refer to them.
        Store.open(sqlite_url(path), create=True).close()
        try:
            self._spool = Spool(path)
            self._shared = self._spool.shared
            self._reader = Spool(path, self._shared)
            self._deliverers = {
                name: Deliverer(name, sink, Spool(path, self._shared))
                for name, sink in self._sinks.items()
            }
        except sqlite3.Error as error:
            raise InputError(
                f"{printable(path)} cannot be opened as a line's store ({error}): name another "
                "file, or mend its disk and permissions."
            ) from error
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._next_pruning = monotonic()
        self._pictures_left_out = 0
        self._is_full = False

    def start(self) -> None:
        """Begin to deliver."""
        for deliverer in self._deliverers.values():
            deliverer.start()

    def close(self, timeout: float = 10.0) -> None:
        """Deliver what can be delivered within a time, and close the file.

        What waits stays in the file for the next start.

        Args:
            timeout: in seconds, for all sinks together.
        """
        until = monotonic() + timeout
        for deliverer in self._deliverers.values():
            deliverer.stop(until)
        for deliverer in self._deliverers.values():
            deliverer.join(max(until - monotonic(), 0) + _LAST_WORDS)
        with self._writing, self._reading:
            self._spool.close()
            self._reader.close()

    def put(self, entries: Sequence[Outgoing]) -> None:
        """Keep records, in one transaction; returns when they are safe on the disk.

        A record whose station and identity are known is left out. Pictures for which there is no
        room are left out, and their records say so.

        Args:
            entries: of parts that are done.

        Raises:
            OutboxFull: there is no room for the records; none of them was kept.
            ValueError: a record has no identity.
        """
        with self._writing:
            self._check_room_for_records(len(entries))
            fitting = self._with_room_for_pictures(entries)
            try:
                self._write(fitting)
            except sqlite3.Error as error:
                if not is_no_room(error):
                    raise
                self._write_without_pictures(fitting, error)
            self._is_full = False
            self._prune_history()
        for deliverer in self._deliverers.values():
            deliverer.wake()

    def known(self, station: str, identities: Sequence[str]) -> set[str]:
        """Those identities of a station that have a record, or had one before it was pruned.

        Args:
            station: its name.
            identities: to look for.
        """
        with self._reading:
            return self._reader.known(station, identities)

    def earlier(self, station: str, identity: str) -> dict[str, Any] | None:
        """The record of an identity, as a JSON object; ``None`` where the history has none.

        Args:
            station: its name.
            identity: to look for.
        """
        with self._reading:
            return self._reader.earlier(station, identity)

    def keep_only(self, station: str, present: Iterable[str]) -> int:
        """Forget identities of pruned records that cannot come again.

        Args:
            station: its name.
            present: identities that can still come.

        Returns:
            How many were forgotten; none on a full disk, where even that needs room.
        """
        with self._writing:
            try:
                return self._spool.forget_but(station, set(present))
            except sqlite3.Error as error:
                if not is_no_room(error):
                    raise
                return 0

    @property
    def picture_bytes(self) -> int:
        """Of pictures that wait for their sinks."""
        return self._shared.picture_bytes

    def status(self) -> dict[str, Any]:
        """What waits and what went wrong, as JSON values."""
        with self._reading:
            waiting = self._reader.waiting()
            refused = self._reader.refused()
        return {
            "sinks": {
                name: {
                    "waiting": waiting.get(name, (0, None))[0],
                    "oldest_waiting": waiting.get(name, (0, None))[1],
                    "refused": refused.get(name, 0),
                    **deliverer.status(),
                }
                for name, deliverer in self._deliverers.items()
            },
            "waiting_for_sinks_that_are_not_configured": {
                name: count for name, (count, _) in waiting.items() if name not in self._sinks
            },
            "picture_bytes": self._shared.picture_bytes,
            "pictures_left_out": self._pictures_left_out,
            "is_full": self._is_full,
        }

    def _write(self, entries: Sequence[Outgoing]) -> None:
        self._spool.add([Kept(x.record, x.pictures, self._wanted(x)) for x in entries])

    def _wanted(self, entry: Outgoing) -> dict[str, list[str]]:
        """The kinds of pictures that each sink of a record's station gets of it."""
        if not entry.record.identity:
            raise ValueError(f"the record of {entry.record.path!r} has no identity")
        wanted = {}
        for name, sink in self._sinks.items():
            stations = sink.settings.stations
            if not stations or entry.record.station in stations:
                kinds = sink.pictures(entry.record) if entry.pictures else {}
                there = sorted(kind for kind in kinds if kind in entry.pictures)
                if there or not sink.wants_pictures_alone:
                    wanted[name] = there
        return wanted

    def _write_without_pictures(self, entries: Sequence[Outgoing], error: sqlite3.Error) -> None:
        bare = [self._without_pictures(entry, "the disk is full") for entry in entries]
        try:
            self._spool.make_room()
            self._write(bare)
        except sqlite3.Error as second:
            if not is_no_room(second):
                raise
            self._is_full = True
            raise OutboxFull(
                f"{printable(self._path)} has no room for a record ({error}): free some of its "
                "disk; the line waits."
            ) from second

    def _check_room_for_records(self, further: int) -> None:
        most = self._limits.records
        waiting = self._shared.deliveries
        if waiting and waiting + further * len(self._sinks) > most:
            self._is_full = True
            raise OutboxFull(
                f"{waiting} records wait in {printable(self._path)}, and at most "
                f"{most} may: see which sink is away; the line waits."
            )

    def _with_room_for_pictures(self, entries: Sequence[Outgoing]) -> list[Outgoing]:
        waiting, limit = self._shared.picture_bytes, self._limits.picture_bytes
        has_pictures = any(entry.pictures for entry in entries)
        room = self._free_bytes() - self._limits.reserve_bytes if has_pictures else 0
        fitting = []
        for entry in entries:
            size = sum(map(len, entry.pictures.values()))
            if size > room:
                entry = self._without_pictures(entry, "the disk is nearly full")
            elif size and waiting + size > limit:
                entry = self._without_pictures(entry, "too many wait for their sink")
            else:
                waiting += size
                room -= size
            fitting.append(entry)
        return fitting

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:  # a file server that is away; writing will say more
            return 0

    def _without_pictures(self, entry: Outgoing, reason: str) -> Outgoing:
        if not entry.pictures:
            return entry
        self._pictures_left_out += len(entry.pictures)
        sentence = f"its pictures were not kept: {reason}."
        earlier = entry.record.error
        error = sentence if earlier is None else f"{earlier} {sentence}"
        return Outgoing(entry.record.changed(pictures={}, error=error))

    def _prune_history(self) -> None:
        days = self._limits.history_days
        if days is None or monotonic() < self._next_pruning:
            return
        self._next_pruning = monotonic() + _SECONDS_BETWEEN_PRUNINGS
        before: datetime = now() - timedelta(days=days)
        try:
            removed = self._spool.prune(before, self._can_come_again)
        except sqlite3.Error as error:  # the records that were put are safe all the same
            log.warning(
                "%s: the history keeps its old records for now (%s)", printable(self._path), error
            )
            return
        if removed == PRUNED_AT_ONCE:
            self._next_pruning = monotonic() + _SECONDS_TO_THE_REST

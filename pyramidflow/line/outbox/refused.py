"""Records that a sink refused: seen, and sent once more when the reason is gone."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


class Refused(NamedTuple):
    """A delivery that a sink refused.

    Attributes:
        sink: its name.
        station: of the part.
        identity: of the part.
        time: when it was refused, in UTC.
        reason: what the sink said.
    """

    sink: str
    station: str
    identity: str
    time: str
    reason: str


def refused_in(store: Path) -> list[Refused]:
    """What sinks of a line refused, the oldest part first.

    Args:
        store: of the line; the line may run.

    Raises:
        InputError: there is no such store.
    """
    with closing(_opened(store)) as connection:
        rows = connection.execute(
            "SELECT sink, station, identity, refused.time, reason FROM refused "
            "JOIN parts ON parts.id = part ORDER BY part, sink"
        )
        return [Refused(*row) for row in rows]


def send_again(store: Path, sink: str | None = None) -> int:
    """Let what was refused wait for its sinks once more, without pictures.

    Args:
        store: of the line; a line that runs delivers it within about a second.
        sink: only what this one refused.

    Returns:
        How many records wait again.

    Raises:
        InputError: there is no such store.
    """
    with closing(_opened(store)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        added = connection.execute(
            "INSERT OR IGNORE INTO deliveries (sink, part, kinds) "
            "SELECT sink, part, '' FROM refused WHERE ? IS NULL OR sink = ?",
            (sink, sink),
        )
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'resent'").fetchone():
            # A running line counts what waits in its memory: so it learns of these.
            connection.execute("UPDATE resent SET number = number + ?", (added.rowcount,))
        removed = connection.execute(
            "DELETE FROM refused WHERE ? IS NULL OR sink = ?", (sink, sink)
        )
        connection.execute("COMMIT")
        return removed.rowcount


def _opened(store: Path) -> sqlite3.Connection:
    try:
        if not store.is_file():
            raise FileNotFoundError("no such file")
        connection = sqlite3.connect(store, isolation_level=None, timeout=60)
        connection.execute("SELECT 1 FROM refused LIMIT 1").fetchall()
    except (OSError, sqlite3.Error) as error:
        raise InputError(
            f"{printable(store)} is no store of a line ({error}): name the line's configuration "
            "or its store."
        ) from error
    return connection

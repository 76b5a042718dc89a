"""The results of a bulk inspection in one folder: every picture's record, once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from pyramidflow.bulk.listing import PICTURES_NAME, Picture
from pyramidflow.bulk.work import Conditions
from pyramidflow.errors import InputError, shown
from pyramidflow.io.files import exclusive
from pyramidflow.io.names import printable
from pyramidflow.line.configuration import STATION_NAME
from pyramidflow.line.history.store import Store, sqlite_url
from pyramidflow.line.outbox.outbox import Limits, Outbox, OutboxFull, Outgoing
from pyramidflow.line.results.made_with import check_made_with, write_made_with
from pyramidflow.line.sinks.csv import CsvSink
from pyramidflow.line.sinks.database import DatabaseSink
from pyramidflow.line.sinks.jsonl import JsonlSink
from pyramidflow.line.sinks.pictures import PicturesSettings, PicturesSink
from pyramidflow.line.sinks.rotated import RotatedSettings
from pyramidflow.line.sinks.sink import Sink

STORE_NAME: Final = "bulk.sqlite"
RUN_NAME: Final = "bulk.run.json"
RECORDS_NAME: Final = "records"

_ASKED_AT_ONCE: Final = 500
"""Identities."""

_ROOM_FOR_PICTURES: Final = 256_000_000
"""Bytes of drawn pictures that wait for the disk."""

_PATIENCE: Final = 60.0
"""Seconds without any delivery after which sinks are taken to be away."""

_LOOK: Final = 0.05

_PICTURE_LIMIT: Final = 100 * _ROOM_FOR_PICTURES  # the archive waits long before


@dataclass(frozen=True)
class Places:
    """Where records and pictures go, beside the JSONL files.

    Attributes:
        output: folder of everything.
        has_csv: whether rows are written for a spreadsheet, too.
        database: URL of a database that gets every record; ``None`` for none.
        kinds: of pictures that are kept: ``"overlay"``, ``"map"``.
        keep: whose.
        station: of the records.

    Raises:
        InputError: the station's name is none.
    """

    output: Path
    has_csv: bool = False
    database: str | None = None
    kinds: tuple[str, ...] = ()
    keep: str = "all"
    station: str = "bulk"

    def __post_init__(self) -> None:
        if re.match(STATION_NAME, self.station) is None:
            raise InputError(
                f"the station is {shown(self.station)}: letters, digits, - and _ are expected, at "
                "most 64."
            )

    @property
    def pictures(self) -> PicturesSettings | None:
        """Settings of the sink of pictures; ``None`` where none are kept."""
        if not self.kinds:
            return None
        return PicturesSettings.model_validate(
            {"folder": self.output / PICTURES_NAME, "kinds": self.kinds, "keep": self.keep}
        )

    def facts(self) -> dict[str, Any]:
        """What a run that goes on must have alike, as JSON values; without a password."""
        from sqlalchemy.engine import make_url

        database = self.database
        if database is not None:
            database = make_url(database).render_as_string(hide_password=True)
        return {
            "station": self.station,
            "csv": self.has_csv,
            "database": database,
            "pictures": sorted(self.kinds),
            "pictures of": self.keep if self.kinds else None,
        }

    def sinks(self) -> dict[str, Sink]:
        """The sinks, by name."""
        lines = RotatedSettings.model_validate(
            {"folder": self.output / RECORDS_NAME, "daily": False}
        )
        found: dict[str, Sink] = {"jsonl": JsonlSink(lines)}
        if self.has_csv:
            found["csv"] = CsvSink(lines)
        if self.database is not None:
            found["database"] = DatabaseSink(
                DatabaseSink.Settings.model_validate({"url": self.database})
            )
        if (pictures := self.pictures) is not None:
            found["pictures"] = PicturesSink(pictures)
        return found


@dataclass(frozen=True)
class Earlier:
    """What is in the folder already.

    Attributes:
        verdicts: how often each was given.
        errors: records with an error.
        records: all of them.
    """

    verdicts: Mapping[str, int]
    errors: int
    records: int


class Archive:
    """An open folder of results.

    Args:
        places: where records go.
        outbox: started.
        earlier: what is there from earlier runs.
    """

    def __init__(self, places: Places, outbox: Outbox, earlier: Earlier) -> None:
        self._places = places
        self._outbox = outbox
        self.earlier = earlier

    def new(self, pictures: Sequence[Picture]) -> Iterator[Picture]:
        """Those pictures that have no record yet, in their order."""
        waiting = iter(pictures)
        while some := list(islice(waiting, _ASKED_AT_ONCE)):
            known = self._outbox.known(self._places.station, [each.identity for each in some])
            yield from (each for each in some if each.identity not in known)

    def put(self, outgoing: Sequence[Outgoing]) -> None:
        """Keep records; returns when they are safe on the disk. A known one is left out.

        Args:
            outgoing: records with their pictures.

        Raises:
            InputError: there is no room for them, and none becomes free.
        """
        self._wait_for(lambda: self._outbox.picture_bytes <= _ROOM_FOR_PICTURES)
        self._wait_for(lambda: self._is_put(outgoing))

    def delivered(self, patience: float | None = None) -> list[str]:
        """Wait until every sink has every record.

        Args:
            patience: seconds without a delivery after which it is not waited for; ``None`` is a
                minute.

        Returns:
            A sentence for each sink that lacks some.
        """
        passed = _Progress(_PATIENCE if patience is None else patience)
        while passed.is_hopeful(waiting := self._waiting()) and waiting:
            sleep(_LOOK)
        return [_lacking(name, state) for name, state in self._states().items() if _lacks(state)]

    def _is_put(self, outgoing: Sequence[Outgoing]) -> bool:
        try:
            self._outbox.put(outgoing)
        except OutboxFull:
            return False
        return True

    def _wait_for(self, is_so: Any) -> None:
        passed = _Progress(_PATIENCE)
        while not is_so():
            if not passed.is_hopeful(self._waiting()):
                reasons = [_lacking(n, state) for n, state in self._states().items()]
                raise InputError(
                    f"there is no room for further records in {printable(self._places.output)}: "
                    f"{' '.join(reasons)} Free some, or mend what is away; the same command goes "
                    "on from here."
                )
            sleep(_LOOK)

    def _states(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._outbox.status()["sinks"]
        return found

    def _waiting(self) -> int:
        return sum(state["waiting"] for state in self._states().values())


class _Progress:
    """Whether something still becomes less.

    Args:
        patience: seconds for which it may stay the same.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._until = monotonic() + patience
        self._least: int | None = None

    def is_hopeful(self, waiting: int) -> bool:
        if self._least is None or waiting < self._least:
            self._least, self._until = waiting, monotonic() + self._patience
        return monotonic() < self._until


def _lacks(state: Mapping[str, Any]) -> bool:
    return bool(state["waiting"] or state["refused"])


def _lacking(name: str, state: Mapping[str, Any]) -> str:
    sentence = f"{name}: {state['waiting']} records wait, {state['refused']} were refused"
    reason = state["last_error"]
    return f"{sentence}." if reason is None else f"{sentence}: {printable(reason).rstrip('.')}."


@contextmanager
def open_archive(places: Places, conditions: Conditions) -> Iterator[Archive]:
    """Open a folder of results, new or of earlier runs.

    Args:
        places: where records go.
        conditions: what the verdicts follow from.

    Yields:
        The archive; no other process can open it meanwhile.

    Raises:
        InputError: another process has it, it cannot be written, or its records were made with
            something else.
    """
    store = places.output / STORE_NAME
    run = places.output / RUN_NAME
    sinks = places.sinks()
    with ExitStack() as held:
        held.enter_context(exclusive(store, covers=[run]))
        _check_run(run, places, conditions, store)
        outbox = Outbox(store, sinks, Limits(picture_bytes=_PICTURE_LIMIT))
        held.callback(outbox.close)
        outbox.start()
        yield Archive(places, outbox, _earlier(store))


def _check_run(run: Path, places: Places, conditions: Conditions, store: Path) -> None:
    now = {**asdict(conditions), **places.facts()}
    if store.exists():
        check_made_with(run, now, what="records", other_ways=["choose another --output"])
    else:
        write_made_with(run, now)


def _earlier(path: Path) -> Earlier:
    from sqlalchemy import func, select

    from pyramidflow.line.history.schema import parts

    store = Store.open(sqlite_url(path))
    try:
        columns = (parts.c.verdict, func.count(), func.count(parts.c.error))
        query = select(*columns).group_by(parts.c.verdict)
        with store.engine.connect() as connection:
            rows = connection.execute(query).all()
    finally:
        store.close()
    verdicts = {verdict: count for verdict, count, _ in rows if verdict is not None}
    return Earlier(verdicts, sum(row[2] for row in rows), sum(row[1] for row in rows))

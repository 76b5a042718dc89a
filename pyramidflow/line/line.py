"""A running line: stations, what they share, and how it is started, changed and stopped."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import BaseModel

from pyramidflow.data import Image
from pyramidflow.errors import InputError
from pyramidflow.io.files import exclusive
from pyramidflow.io.names import printable
from pyramidflow.line.configuration import (
    LineSettings,
    StationSettings,
    check_configuration,
    read_configuration,
    sink_name,
)
from pyramidflow.line.moved_thresholds import MovedThresholds
from pyramidflow.line.outbox.outbox import Limits, Outbox
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.pipeline.queues import Turn
from pyramidflow.line.record import Record
from pyramidflow.line.registry import sink_kinds, source_kinds
from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.python import PythonSource
from pyramidflow.line.sources.source import Source
from pyramidflow.line.started import Started
from pyramidflow.line.station import Station, inspector_of
from pyramidflow.line.viewer import Viewer

log = logging.getLogger(__name__)


class Line(Started):
    """A line: pictures from its stations' sources, inspected, recorded, and sent to its sinks.

    One inspection runs at a time, with all threads of the machine; stations take turns.

    ::

        with Line("line.toml") as line:
            line.wait()

    Args:
        configuration: a TOML file, or its tables as a mapping.

    Raises:
        InputError: the configuration is refused (the key is named), a detector cannot be used, or
            a source or sink cannot be made.
    """

    def __init__(self, configuration: "str | os.PathLike[str] | Mapping[str, Any]") -> None:
        self._file = None if isinstance(configuration, Mapping) else Path(configuration)
        if isinstance(configuration, Mapping):
            self._name = "the configuration"
            self.settings = check_configuration(configuration, Path.cwd(), self._name)
        else:
            self._name = printable(Path(configuration))
            self.settings = read_configuration(Path(configuration))
        self._sinks = _sinks_of(self.settings, self._name)
        self._moved = MovedThresholds(_moved_file(self.settings.store))
        self._configured = {x.name: x.thresholds for x in self.settings.stations}
        self._recorded = {x.name: _Recorded(x.name) for x in self.settings.stations}
        self._inspectors: dict[str, Inspector] = {}
        self._sources: dict[str, Source] = {}
        for number, station in enumerate(self.settings.stations):
            name, source = station.name, station.source
            table = f"{self._name}: stations[{number}]"
            with _naming(table, "detector", station):
                self._inspectors[name] = self._inspector_of(station)
            with _naming(table, "source", station):
                kind = source_kinds()[_kind(source)]
                self._sources[name] = kind(source, name, self._recorded[name])
        self._stations: dict[str, Station] = {}
        self._outbox: Outbox | None = None
        self._viewer: Viewer | None = None
        self._held = ExitStack()
        self._is_running = False

    def start(self) -> None:
        """Begin: open the store, deliver what still waits there, and take pictures.

        Raises:
            InputError: another process runs on the store or a folder, or the store cannot be used.
        """
        if self._outbox is not None:
            raise InputError("the line was started already: make another one.")
        store = self.settings.store
        with ExitStack() as held:
            held.enter_context(
                exclusive(store, advice="another line runs on it; give each its own store")
            )
            for number, settings in enumerate(self.settings.stations):
                source = self._sources[settings.name]
                held.callback(source.close)
                with _naming(f"{self._name}: stations[{number}]", "source", settings):
                    source.open()
            outbox = self._outbox = Outbox(
                store, self._sinks, Limits(**self.settings.limits.model_dump())
            )
            self._held = held.pop_all()
        turn = Turn()
        for settings in self.settings.stations:
            name = settings.name
            self._recorded[name].outbox = outbox
            self._stations[name] = Station(
                settings,
                self._sources[name],
                self._inspectors[name],
                [sink for sink in self._sinks.values() if _serves(sink, name)],
                outbox,
                turn,
                self._viewer,
            )
        self._is_running = True
        outbox.start()
        for station in self._stations.values():
            station.start()

    def watch(self, viewer: Viewer) -> None:
        """Let a viewer look on; before the start.

        Args:
            viewer: that sees each part.

        Raises:
            InputError: the line was started already.
        """
        if self._outbox is not None:
            raise InputError("the line was started already: let viewers look on before.")
        self._viewer = viewer

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every source has come to its end; cameras and watched folders have none.

        Args:
            timeout: in seconds.

        Returns:
            Whether they have.
        """
        until = None if timeout is None else monotonic() + timeout
        return all(
            station.join(None if until is None else max(until - monotonic(), 0))
            for station in self._stations.values()
        )

    def stop(self) -> None:
        """Finish what is in hand, give sinks ``stop_seconds`` to take what waits, and end.

        What still waits then is delivered after the next start.
        """
        if self._outbox is None or not self._is_running:
            return
        for station in self._stations.values():
            station.stop()
        for station in self._stations.values():
            station.join(None)
        self._is_running = False
        self._outbox.close(self.settings.stop_seconds)
        for sink in self._sinks.values():
            sink.close()
        self._held.close()

    def put(
        self,
        image: "Image | bytes",
        identity: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        station: str | None = None,
        timeout: float | None = None,
    ) -> "Future[Record | None]":
        """Hand a picture to a station whose source is of the kind ``python``.

        Args:
            image: a path, the bytes of an image file, an array in the order red, green, blue (it
                is copied), or a Pillow image.
            identity: of the part's picture, unique in its station for ever, from a trigger or a
                code; by default a new one.
            metadata: JSON values that go into the record.
            station: its name, where there are several.
            timeout: how long to wait for room, in seconds; ``None`` waits.

        Returns:
            Gives the record once it is durable; ``None`` where the identity has one already.

        Raises:
            InputError: there is no such station, the line does not run, or the picture has no form
                that is known.
            TimeoutError: no room within the time.
        """
        named = {n: s for n, s in self._sources.items() if isinstance(s, PythonSource)}
        if station is None and len(named) == 1:
            [station] = named
        if station not in named:
            names = ", ".join(named) or "none"
            raise InputError(
                f"the station is {station!r}: one with the source python is expected ({names})."
            )
        return named[station].put(image, identity, metadata, timeout)

    def reload(self) -> list[str]:
        """Take changed detector files and thresholds, each station between two of its parts.

        What cannot be taken leaves the old one at work, and is logged.

        Returns:
            A sentence for each change and each refusal.
        """
        said = []
        try:
            settings = self.settings if self._file is None else read_configuration(self._file)
        except InputError as error:
            return [_logged(f"not reloaded: {error}")]
        wanted = {station.name: station for station in settings.stations}
        for name, station in self._stations.items():
            if name not in wanted:
                said.append(_logged(f"{name}: is gone from the configuration: start again"))
                continue
            said += self._reloaded(station, wanted[name])
        return said

    def move_thresholds(
        self, station: str, threshold: float, review_threshold: float, who: str
    ) -> str:
        """Judge a station's further parts by other thresholds, also after the next start.

        They are kept beside the store, and count until the detector or the station's thresholds in
        the configuration change.

        Args:
            station: its name.
            threshold: largest score that is not ng.
            review_threshold: largest score that is ok.
            who: moves them.

        Returns:
            A sentence that says so.

        Raises:
            InputError: there is no such station, the line does not run, nobody moves them, they
                are no thresholds, or they cannot be kept.
        """
        if station not in self._stations:
            names = ", ".join(self._stations) or "none, the line does not run"
            raise InputError(f"the station is {station!r}: one of {names} is expected.")
        if not who.strip():
            raise InputError("who moves the thresholds is empty: give a name.")
        changed = self._stations[station]
        old = changed.inspector
        wanted = {"threshold": threshold, "review_threshold": review_threshold}
        found = old.with_thresholds(**wanted)
        self._moved.move(station, old.digest, self._configured[station], wanted, who)
        changed.inspector = found
        return _logged(
            f"{station}: {printable(who)} moved the thresholds to {_said(found)}; before, "
            f"{_said(old)}"
        )

    def status(self) -> dict[str, Any]:
        """Every station and, while the line runs, what waits for the sinks; JSON values."""
        outbox = self._outbox if self._is_running else None
        return {
            "stations": {name: station.status() for name, station in self._stations.items()},
            "outbox": {} if outbox is None else outbox.status(),
        }

    @property
    def thresholds(self) -> dict[str, dict[str, float | None]]:
        """What the verdicts of each station are given by now."""
        return {name: x.inspector.thresholds for name, x in self._stations.items()}

    @property
    def has_errors(self) -> bool:
        """Whether a part had no verdict, or a station ended before its time."""
        return any(x.counts.errors or x.failure for x in self._stations.values())

    def _reloaded(self, station: Station, wanted: StationSettings) -> list[str]:
        name = wanted.name
        said = []
        taken = {"detector": wanted.detector, **wanted.thresholds}
        if wanted != station.settings.model_copy(update=taken):
            said.append(_logged(f"{name}: only detector and thresholds change while it runs"))
        try:
            found = self._inspector_of(station.settings.model_copy(update=taken))
        except Exception as error:  # whatever is wrong with the new one, the old one works
            return [*said, _logged(f"{name}: the old detector stays: {printable(error)}")]
        self._configured[name] = wanted.thresholds
        old = station.inspector
        if (found.digest, found.thresholds) == (old.digest, old.thresholds):
            return said
        station.inspector = found
        return [
            *said,
            _logged(
                f"{name}: inspects with {found.digest[:12]} at {_said(found)}; before, with "
                f"{old.digest[:12]} at {_said(old)}"
            ),
        ]

    def _inspector_of(self, settings: StationSettings) -> Inspector:
        found = inspector_of(settings)
        moved = self._moved.of(settings.name, found.digest, settings.thresholds)
        return found.with_thresholds(**moved) if moved else found


class _Recorded:
    """The identities of one station, as its source sees them."""

    def __init__(self, station: str) -> None:
        self._station = station
        self.outbox: Outbox | None = None

    def known(self, identities: Sequence[str]) -> set[str]:
        return set() if self.outbox is None else self.outbox.known(self._station, identities)

    def keep_only(self, present: Iterable[str]) -> int:
        return 0 if self.outbox is None else self.outbox.keep_only(self._station, present)


def _said(inspector: Inspector) -> str:
    known = {name: value for name, value in inspector.thresholds.items() if value is not None}
    return ", ".join(f"{name} {value:.6g}" for name, value in known.items())


def _logged(sentence: str) -> str:
    log.warning("%s", sentence)
    return sentence


def _sinks_of(settings: LineSettings, configuration: str) -> dict[str, Sink]:
    made = {}
    for number, sink in enumerate(settings.sinks):
        with _naming(f"{configuration}: sinks[{number}]", "", sink):
            made[sink_name(sink)] = sink_kinds()[_kind(sink)](sink)
    return made


@contextmanager
def _naming(table: str, key: str, settings: BaseModel) -> Iterator[None]:
    """Put the key before what is wrong with its value, where the sentence names none itself."""
    try:
        yield
    except InputError as error:
        first = re.split(r"\W", str(error), maxsplit=1)[0]
        names_one = first in type(settings).model_fields
        value = getattr(settings, key, None)
        is_about_it = not isinstance(value, Path) or printable(value) in str(error)
        place = f"{table}.{key}" if key and is_about_it else table
        raise InputError(f"{table}.{error}" if names_one else f"{place}: {error}") from error


def _serves(sink: Sink, station: str) -> bool:
    return not sink.settings.stations or station in sink.settings.stations


def _moved_file(store: Path) -> Path:
    return store.with_name(f"{store.name}.thresholds.json")


def _kind(settings: Any) -> str:
    return str(settings.kind)

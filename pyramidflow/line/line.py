"""A running line: stations, what they share, and how it is started, changed and stopped."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeAlias

from pyramidflow.data import Image
from pyramidflow.errors import InputError
from pyramidflow.io.files import exclusive
from pyramidflow.io.names import printable
from pyramidflow.line.configuration import (
    LineSettings,
    check_configuration,
    read_configuration,
    sink_name,
)
from pyramidflow.line.detectors import Detectors, logged
from pyramidflow.line.naming import naming
from pyramidflow.line.outbox.outbox import Limits, Outbox
from pyramidflow.line.pipeline.queues import Turn
from pyramidflow.line.preparation import Preparation
from pyramidflow.line.record import Record
from pyramidflow.line.registry import sink_kinds, source_kinds
from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.python import PythonSource
from pyramidflow.line.sources.source import Source
from pyramidflow.line.started import Started
from pyramidflow.line.station import Station
from pyramidflow.line.viewer import Viewer

_State: TypeAlias = Literal["made", "open", "running", "stopped"]


class Line(Started):
    """A line: pictures from its stations' sources, inspected, recorded, and sent to its sinks.

    One inspection runs at a time, with all threads of the machine; stations take turns. Detectors
    are read and checked when the line is made. What takes longer comes after the start, in the
    background: each is made ready for this machine, and from then on its station takes pictures.

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
        self._detectors = Detectors(self.settings, self._name)
        self._recorded = {x.name: _Recorded(x.name) for x in self.settings.stations}
        self._sources: dict[str, Source] = {}
        for number, station in enumerate(self.settings.stations):
            name, source = station.name, station.source
            self._detectors.open(name)
            with naming(f"{self._name}: stations[{number}]", "source", station):
                kind = source_kinds()[source.kind]
                self._sources[name] = kind(source, name, self._recorded[name])
        self._stations: dict[str, Station] = {}
        self._preparation = Preparation(self._detectors.prepared, self._stations)
        self._outbox: Outbox | None = None
        self._viewer: Viewer | None = None
        self._held = ExitStack()
        self._state: _State = "made"

    def check(self) -> None:
        """Make every detector ready, in place of a start, so that nothing is left to be refused.

        Raises:
            InputError: a setting cannot be honoured.
        """
        for station in self.settings.stations:
            self._detectors.prepared(station.name)

    def start(self) -> None:
        """Begin: :meth:`open`, where nobody has, and prepare in the background to take pictures.

        Raises:
            InputError: as :meth:`open`.
        """
        if self._state == "made":
            self.open()
        self._refuse_unless("open", "make another one")
        self._state = "running"
        self._preparation.start()

    def open(self) -> None:
        """Take hold of store and sources, and deliver what still waits; no picture is taken yet.

        Raises:
            InputError: another process runs on the store or a folder, the store cannot be used, or
                the line was started already.
        """
        self._refuse_unless("made", "make another one")
        store = self.settings.store
        with ExitStack() as held:
            held.enter_context(
                exclusive(store, advice="another line runs on it; give each its own store")
            )
            for number, settings in enumerate(self.settings.stations):
                source = self._sources[settings.name]
                held.callback(source.close)
                with naming(f"{self._name}: stations[{number}]", "source", settings):
                    source.open()
            outbox = self._outbox = Outbox(
                store,
                self._sinks,
                Limits(**self.settings.limits.model_dump()),
                self._can_come_again,
            )
            self._held = held.pop_all()
        turn = Turn()
        for settings in self.settings.stations:
            name = settings.name
            self._recorded[name].outbox = outbox
            self._stations[name] = Station(
                settings,
                self._sources[name],
                self._detectors.digest(name),
                [sink for sink in self._sinks.values() if _serves(sink, name)],
                outbox,
                turn,
                self._viewer,
            )
        for sink in self._sinks.values():
            served = [station for name, station in self._stations.items() if _serves(sink, name)]
            sink.serve(partial(_are_at_work, served))
        self._state = "open"
        outbox.start()

    def watch(self, viewer: Viewer) -> None:
        """Let a viewer look on; before the start.

        Args:
            viewer: that sees each part.

        Raises:
            InputError: the line was started already.
        """
        self._refuse_unless("made", "let viewers look on before")
        self._viewer = viewer

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every source has come to its end; cameras and watched folders have none.

        Args:
            timeout: in seconds.

        Returns:
            Whether they have.

        Raises:
            InputError: a detector could not be made ready, and every station was stopped for that.
        """
        until = None if timeout is None else monotonic() + timeout
        are_over = all(
            station.join(None if until is None else max(until - monotonic(), 0))
            for station in self._stations.values()
        )
        self._preparation.raise_failure()
        return are_over

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Wait until every station can inspect.

        Args:
            timeout: in seconds.

        Returns:
            Whether none prepares any more.

        Raises:
            InputError: as :meth:`wait`.
        """
        is_over = self._preparation.join(timeout)
        self._preparation.raise_failure()
        return is_over

    @property
    def preparing(self) -> list[str]:
        """Names of the stations whose detector is not ready yet."""
        return [name for name, station in self._stations.items() if station.is_preparing]

    def stop(self) -> None:
        """Finish what is in hand, give sinks ``stop_seconds`` to take what waits, and end.

        What still waits then is delivered after the next start.
        """
        outbox = self._outbox
        if outbox is None:
            return
        for station in self._stations.values():
            station.stop()
        self._preparation.stop()
        for station in self._stations.values():
            station.join(None)
        self._outbox, self._state = None, "stopped"
        with self._held:
            outbox.close(self.settings.stop_seconds)

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

        While the station prepares the picture waits.

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
            InputError: there is no such station, the picture has no form that is known, or the
                metadata are no JSON.
            LineStoppedError: the line is stopped.
            StationEndedError: the station has ended, or its detector cannot be made ready; also
                what waits for a record gets it then.
            IdentityWaitsError: a picture with this identity waits for its record.
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

        What cannot be taken leaves the old one at work, and is logged. Stations that still prepare
        are waited for.

        Returns:
            A sentence for each change and each refusal.
        """
        said = []
        try:
            self.wait_until_ready()
            settings = self.settings if self._file is None else read_configuration(self._file)
        except InputError as error:
            return [logged(f"not reloaded: {error}")]
        wanted = {station.name: station for station in settings.stations}
        for name, station in self._stations.items():
            if name not in wanted:
                said.append(logged(f"{name}: is gone from the configuration: start again"))
                continue
            said += self._detectors.reloaded(station, wanted[name])
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
            InputError: there is no such station, the line does not run, the station prepares,
                nobody moves them, they are no thresholds, or they cannot be kept.
        """
        if station not in self._stations:
            names = ", ".join(self._stations) or "none, the line does not run"
            raise InputError(f"the station is {station!r}: one of {names} is expected.")
        found = self._stations[station]
        return self._detectors.move_thresholds(found, threshold, review_threshold, who)

    def status(self) -> dict[str, Any]:
        """Every station and, while the line runs, what waits for the sinks; JSON values."""
        outbox = self._outbox
        return {
            "stations": {name: station.status() for name, station in self._stations.items()},
            "outbox": {} if outbox is None else outbox.status(),
        }

    @property
    def thresholds(self) -> dict[str, dict[str, float | None]]:
        """What the verdicts of each station are given by now; ``None`` while it prepares."""
        return {name: station.thresholds for name, station in self._stations.items()}

    @property
    def has_errors(self) -> bool:
        """Whether a part had no verdict, or a station ended before its time."""
        return any(x.counts.errors or x.failure for x in self._stations.values())

    def _refuse_unless(self, state: _State, advice: str) -> None:
        if self._state != state:
            raise InputError(f"the line was started already: {advice}.")

    def _can_come_again(self, station: str, identity: str) -> bool:
        source = self._sources.get(station)  # another configuration may have it again
        return source is None or source.can_come_again(identity)


class _Recorded:
    """The records of one station, as its source sees them."""

    def __init__(self, station: str) -> None:
        self._station = station
        self.outbox: Outbox | None = None

    def earlier(self, identity: str) -> Mapping[str, Any] | None:
        return None if self.outbox is None else self.outbox.earlier(self._station, identity)

    def keep_only(self, present: Iterable[str]) -> int:
        return 0 if self.outbox is None else self.outbox.keep_only(self._station, present)


def _sinks_of(settings: LineSettings, configuration: str) -> dict[str, Sink]:
    made = {}
    for number, sink in enumerate(settings.sinks):
        with naming(f"{configuration}: sinks[{number}]", "", sink):
            made[sink_name(sink)] = sink_kinds()[sink.kind](sink)
    return made


def _serves(sink: Sink, station: str) -> bool:
    return not sink.settings.stations or station in sink.settings.stations


def _are_at_work(stations: Sequence[Station]) -> bool:
    return not any(station.join(0) for station in stations)

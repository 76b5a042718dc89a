"""The detectors of a line's stations: read and checked, made ready, and changed while it runs."""

import logging
import threading
from pathlib import Path

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.configuration import LineSettings, StationSettings
from pyramidflow.line.moved_thresholds import MovedThresholds
from pyramidflow.line.naming import naming
from pyramidflow.line.pipeline.inspector import Inspector, OpenedDetector, open_detector
from pyramidflow.line.station import Station

log = logging.getLogger(__name__)


class Detectors:
    """What inspects at each station.

    Args:
        settings: of the line.
        configuration: its name in sentences.

    Raises:
        InputError: a detector cannot be used, or a setting or threshold is refused.
    """

    def __init__(self, settings: LineSettings, configuration: str) -> None:
        self._moved = MovedThresholds(_moved_file(settings.store))
        self._settings = {station.name: station for station in settings.stations}
        self._configured = {station.name: station.thresholds for station in settings.stations}
        self._tables = {
            station.name: f"{configuration}: stations[{number}]"
            for number, station in enumerate(settings.stations)
        }
        self._opened: dict[str, OpenedDetector] = {}
        # Held from the look at what inspects to its change: a reload may come beside a person.
        self._changing = threading.Lock()

    def open(self, station: str) -> None:
        """Read and check a station's detector.

        Raises:
            InputError: it cannot be used, or a setting or threshold is refused.
        """
        settings = self._settings[station]
        with naming(self._tables[station], "detector", settings):
            self._opened[station] = _opened(settings)

    def digest(self, station: str) -> str:
        """Of the file that was read for a station."""
        return self._opened[station].digest

    def prepared(self, station: str) -> Inspector:
        """Make a station's detector ready to inspect, and let go of what was read.

        Raises:
            InputError: a setting cannot be honoured.
            Interrupted: it is not wanted any more.
        """
        settings = self._settings[station]
        with naming(self._tables[station], "detector", settings):
            return self._with_moved(_ready(self._opened.pop(station)), settings)

    def reloaded(self, station: Station, wanted: StationSettings) -> list[str]:
        """Let a station inspect with a changed detector or thresholds, where it can be done.

        Args:
            station: that inspects.
            wanted: its settings as they are to be.

        Returns:
            A sentence for each change and each refusal.
        """
        name = wanted.name
        said = []
        taken = {"detector": wanted.detector, **wanted.thresholds}
        if wanted != station.settings.model_copy(update=taken):
            said.append(logged(f"{name}: only detector and thresholds change while it runs"))
        try:
            settings = station.settings.model_copy(update=taken)
            found = _ready(_opened(settings))
            with self._changing:
                found = self._with_moved(found, settings)
                self._configured[name] = wanted.thresholds
                old = station.inspector
                if (found.digest, found.thresholds) == (old.digest, old.thresholds):
                    return said
                station.inspector = found
        except Exception as error:  # whatever is wrong with the new one, the old one works
            return [*said, logged(f"{name}: the old detector stays: {printable(error)}")]
        return [
            *said,
            logged(
                f"{name}: inspects with {found.digest[:12]} at {_said(found)}; before, with "
                f"{old.digest[:12]} at {_said(old)}"
            ),
        ]

    def move_thresholds(
        self, station: Station, threshold: float, review_threshold: float, who: str
    ) -> str:
        """Let a station judge by other thresholds; see :meth:`Line.move_thresholds`.

        Raises:
            InputError: the station prepares, nobody moves them, they are no thresholds, or they
                cannot be kept.
        """
        name = station.settings.name
        if not who.strip():
            raise InputError("who moves the thresholds is empty: give a name.")
        wanted = {"threshold": threshold, "review_threshold": review_threshold}
        with self._changing:
            old = station.inspector
            found = old.with_thresholds(**wanted)
            self._moved.move(name, old.digest, self._configured[name], wanted, who)
            station.inspector = found
        return logged(
            f"{name}: {printable(who)} moved the thresholds to {_said(found)}; before, {_said(old)}"
        )

    def _with_moved(self, found: Inspector, settings: StationSettings) -> Inspector:
        moved = self._moved.of(settings.name, found.digest, settings.thresholds)
        return found.with_thresholds(**moved) if moved else found


def logged(sentence: str) -> str:
    """A sentence that the log has, too."""
    log.warning("%s", sentence)
    return sentence


def _opened(settings: StationSettings) -> OpenedDetector:
    return open_detector(
        settings.detector,
        settings.thresholds,
        settings.device,
        threads=settings.threads,
        precision=settings.precision,
        max_pixels=round(settings.max_megapixels * 1e6),
    )


def _ready(detector: OpenedDetector) -> Inspector:
    found = detector.prepared()
    found.warm_up()
    return found


def _said(inspector: Inspector) -> str:
    known = {name: value for name, value in inspector.thresholds.items() if value is not None}
    return ", ".join(f"{name} {value:.6g}" for name, value in known.items())


def _moved_file(store: Path) -> Path:
    return store.with_name(f"{store.name}.thresholds.json")

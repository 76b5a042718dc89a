"""What makes the detectors of a line ready, while the line is there already."""

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic

from pyramidflow.interrupt import Interrupted, checkpoint, unless
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.station import Station

log = logging.getLogger(__name__)


class Preparation:
    """Prepares the detectors of stations, one after the other, in a thread of its own.

    A station begins as soon as its own is ready. Where one cannot be made ready, all stations stop.

    Args:
        prepared: gives what inspects at a station, by its name; it takes its time.
        stations: by their names.
    """

    def __init__(
        self, prepared: Callable[[str], Inspector], stations: Mapping[str, Station]
    ) -> None:
        self._prepared = prepared
        self._stations = stations
        self._is_unwanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End between two steps of the work, and wait for that."""
        self._is_unwanted.set()
        self.join()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it is over; whether it is."""
        is_started = self._thread.ident is not None
        if is_started:
            self._thread.join(timeout)
        return is_started and not self._thread.is_alive()

    def raise_failure(self) -> None:
        """Say why a detector could not be made ready, where that is so.

        Raises:
            InputError: as :meth:`pyramidflow.line.detectors.Detectors.prepared`.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with unless(self._is_unwanted.is_set):
                for name, station in self._stations.items():
                    checkpoint()
                    log.info("%s: preparing", name)
                    start = monotonic()
                    station.begin(self._prepared(name))
                    log.info("%s: ready to inspect after %.1f s", name, monotonic() - start)
        except Interrupted:
            log.info("%s: not ready, and not wanted any more", name)
        except Exception as error:  # whatever it is, it is told where the line is waited for
            self._failure = error
            for station in self._stations.values():
                station.give_up(error)

"""What the page knows of the running line: its last parts, their pictures, and how it goes."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from threading import Lock
from time import monotonic, time
from typing import Any, Final, NamedTuple

import numpy as np

from pyramidflow.data import Pixels
from pyramidflow.detector import Inspection, Verdict
from pyramidflow.line.record import Record
from pyramidflow.service.previews import full_overlay, previews

SECONDS_PER_SAMPLE: Final = 2.0
SAMPLES: Final = 300
"""Ten minutes."""

LAST_PARTS: Final = 60
_MOST_PICTURE_BYTES: Final = 64_000_000
_SECONDS_BETWEEN: Final = {"ok": 0.5, "review": 0.1, "ng": 0.1}
_SECONDS_BETWEEN_UNSEEN: Final = {"ok": 5.0, "review": 0.1, "ng": 0.1}
"""While nobody listens: enough for the page that opens next."""

_MOST_ASKED: Final = 1000

Key = tuple[str, str]
"""Station and identity."""


class Event(NamedTuple):
    """What happened, for those who listen.

    Attributes:
        number: grows by one with each.
        kind: ``"part"``, ``"sample"``, ``"mark"`` or ``"thresholds"``.
        content: JSON values.
    """

    number: int
    kind: str
    content: Mapping[str, Any]


@dataclass
class _Second:
    """Parts of a station since the last sample."""

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("ok", "review", "ng", "error"), 0)
    )
    milliseconds: list[float] = field(default_factory=list)


class Watch:
    """Looks on at a line; see :class:`pyramidflow.line.viewer.Viewer`.

    Pictures are drawn for two good parts and for ten others a second at most, for a good part in
    five seconds while nobody listens, and for those that somebody asked for; a bounded number of
    bytes of them is kept.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pictures: OrderedDict[Key, Mapping[str, bytes]] = OrderedDict()
        self._bytes = 0
        self._asked: OrderedDict[Key, None] = OrderedDict()
        self._drawn_at = dict.fromkeys(_SECONDS_BETWEEN, -inf)
        self._parts: deque[dict[str, Any]] = deque(maxlen=LAST_PARTS)
        self._last_ng: dict[str, dict[str, Any]] = {}
        self._samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES)
        self._events: deque[Event] = deque(maxlen=LAST_PARTS + SAMPLES)
        self._number = 0
        self._seconds: dict[str, _Second] = {}
        self.is_over = False
        self.listeners = 0

    def ask_for_heat_map(self, station: str, identity: str) -> None:
        """Draw the whole heat map of a part that will come."""
        with self._lock:
            self._asked[station, identity] = None
            while len(self._asked) > _MOST_ASKED:
                self._asked.popitem(last=False)

    def look(
        self, record: Record, pixels: Pixels, inspection: Inspection, scale: float
    ) -> Mapping[str, bytes]:
        """Draw a part, where it is its turn."""
        key = (record.station, record.identity)
        with self._lock:
            is_asked = key in self._asked
            self._asked.pop(key, None)
            is_turn = inspection.verdict is not None and self._is_turn_of(inspection.verdict)
        drawn = previews(pixels, inspection, scale) if is_turn or is_asked else {}
        if is_asked:
            drawn["overlay"] = full_overlay(pixels, inspection, scale)
        return drawn

    def shown(self, record: Record, pictures: Mapping[str, bytes]) -> None:
        """Keep a part's record and pictures for the page."""
        content = record.as_dict()
        content["drawn"] = sorted(pictures)
        with self._lock:
            if pictures:
                self._keep((record.station, record.identity), pictures)
            self._parts.append(content)
            if record.verdict == "ng":
                self._last_ng[record.station] = content
            second = self._seconds.setdefault(record.station, _Second())
            second.counts[record.verdict or "error"] += 1
            if record.verdict is not None:
                second.milliseconds.append(record.times.get("total", 0.0))
            self._add_event("part", content)

    def say(self, kind: str, content: Mapping[str, Any]) -> None:
        """Tell those who listen."""
        with self._lock:
            self._add_event(kind, content)

    def sample(self, status: Mapping[str, Any]) -> None:
        """Close the time since the last sample.

        Args:
            status: of the line.
        """
        with self._lock:
            seconds, self._seconds = self._seconds, {}
            stations = {}
            for name, state in status["stations"].items():
                second = seconds.get(name, _Second())
                took = second.milliseconds
                stations[name] = {
                    **second.counts,
                    "preparing": state["preparing"],
                    "waiting": sum(state["waiting"].values()),
                    "median_ms": float(np.median(took)) if took else None,
                    "slowest_ms": max(took) if took else None,
                }
            taken = {"time": time(), "seconds": SECONDS_PER_SAMPLE, "stations": stations}
            self._samples.append(taken)
            self._add_event("sample", taken)

    def picture(self, station: str, identity: str, kind: str) -> bytes | None:
        """A picture that is still kept."""
        with self._lock:
            return self._pictures.get((station, identity), {}).get(kind)

    def snapshot(self) -> dict[str, Any]:
        """The last parts, the last ng of each station, all samples, and the last event's number."""
        with self._lock:
            return {
                "event": self._number,
                "parts": list(self._parts),
                "last_ng": dict(self._last_ng),
                "samples": list(self._samples),
            }

    def since(self, number: int) -> list[Event]:
        """Events after one, in order; those that are too old are gone."""
        with self._lock:
            if number >= self._number:
                return []
            return [event for event in self._events if event.number > number]

    @property
    def last_event(self) -> int:
        """The number of the last event."""
        return self._number

    def _is_turn_of(self, verdict: Verdict) -> bool:
        now = monotonic()
        between = _SECONDS_BETWEEN if self.listeners else _SECONDS_BETWEEN_UNSEEN
        if now < self._drawn_at[verdict] + between[verdict]:
            return False
        self._drawn_at[verdict] = now
        return True

    def _keep(self, key: Key, pictures: Mapping[str, bytes]) -> None:
        self._pictures[key] = pictures
        self._bytes += sum(map(len, pictures.values()))
        while self._bytes > _MOST_PICTURE_BYTES and len(self._pictures) > 1:
            _, gone = self._pictures.popitem(last=False)
            self._bytes -= sum(map(len, gone.values()))

    def _add_event(self, kind: str, content: Mapping[str, Any]) -> None:
        self._number += 1
        self._events.append(Event(self._number, kind, content))

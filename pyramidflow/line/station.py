"""One station of a line: a source, a detector, and the records of its parts."""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final, Protocol

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.configuration import THRESHOLDS, StationSettings
from pyramidflow.line.counts import Counts
from pyramidflow.line.frame import Frame
from pyramidflow.line.outbox.outbox import OutboxFull, Outgoing
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.pipeline.part import Part
from pyramidflow.line.pipeline.part_record import record_of, wanted_kinds
from pyramidflow.line.pipeline.pipeline import Flow, Pipeline
from pyramidflow.line.pipeline.queues import Turn
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Sink
from pyramidflow.line.sources.source import Source
from pyramidflow.line.viewer import Viewer

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 64
"""Records in one transaction."""

_WAIT_FOR_ROOM: Final = 0.5
"""Seconds between two tries to keep a record where the disk is full."""


class Keeper(Protocol):
    """What keeps records: the outbox, as a station sees it."""

    def put(self, entries: Sequence[Outgoing]) -> None:
        """Keep records; returns when they are safe."""

    def known(self, station: str, identities: Sequence[str]) -> set[str]:
        """Those identities that have a record."""


@dataclass
class Station:
    """Takes the frames of one source to durable records, in a thread of its own.

    It takes none before :meth:`begin` gives it what inspects: until then the source waits.

    Attributes:
        settings: of the station.
        source: of its frames.
        detector: digest of the detector that is made ready for it.
        sinks: that get its records.
        keeper: of the records.
        turn: at the machine.
        viewer: that looks on.
        already_recorded: frames that were not inspected, or not kept, as their identity had a
            record.
    """

    settings: StationSettings
    source: Source
    detector: str
    sinks: Sequence[Sink]
    keeper: Keeper
    turn: Turn
    viewer: Viewer | None = None
    counts: Counts = field(default_factory=Counts)
    already_recorded: int = 0
    failure: InputError | None = None

    def __post_init__(self) -> None:
        flow = Flow(self.settings.waiting, self.settings.when_full)
        look = None if self.viewer is None else self._look
        self._pipeline = Pipeline(lambda: self.inspector, self._kinds, flow, self.turn, look)
        self._inspector: Inspector | None = None
        self._beginning = threading.Lock()
        self._passing_over = threading.Lock()
        self._stop = Event()
        self._is_over = Event()
        self._thread = threading.Thread(target=self._run, name=self.settings.name, daemon=True)

    @property
    def inspector(self) -> Inspector:
        """What inspects now; another one takes over between two parts."""
        if self._inspector is None:
            raise InputError(f"{self.settings.name} is preparing: wait until it can inspect.")
        return self._inspector

    @inspector.setter
    def inspector(self, inspector: Inspector) -> None:
        self._inspector, self.detector = inspector, inspector.digest

    @property
    def is_preparing(self) -> bool:
        """Whether its detector is not ready yet."""
        return self._inspector is None and not self._is_over.is_set()

    @property
    def thresholds(self) -> dict[str, float | None]:
        """What verdicts are given by; not known before the detector is ready."""
        known = self._inspector
        return dict.fromkeys(THRESHOLDS) if known is None else known.thresholds

    def begin(self, inspector: Inspector) -> None:
        """Take frames and inspect them, unless it was stopped meanwhile.

        Args:
            inspector: what inspects.
        """
        with self._beginning:
            if not self._stop.is_set():
                self.inspector = inspector
                self._thread.start()

    def give_up(self, reason: Exception) -> None:
        """Never begin, and tell who waits for a part; a station that has begun stops.

        Args:
            reason: why there is nothing to inspect with.
        """
        self.stop()
        if self._inspector is None:
            self.failure = InputError(str(reason))
            self.source.give_up(self.failure)

    def stop(self) -> None:
        """Take no more frames; what is in hand is finished."""
        with self._beginning:
            self._stop.set()
            if self._inspector is None:
                self._is_over.set()

    def join(self, timeout: float | None) -> bool:
        """Wait for the end; whether it came."""
        return self._is_over.wait(timeout)

    def status(self) -> dict[str, Any]:
        """Counts, what waits, the source and the detector; JSON values."""
        return {
            **vars(self.counts),
            "already_recorded": self.already_recorded,
            "preparing": self.is_preparing,
            "running": self._inspector is not None and not self._is_over.is_set(),
            "failure": None if self.failure is None else str(self.failure),
            "waiting": self._pipeline.queue_lengths(),
            "source": self.source.status(),
            "detector": self.detector,
            **self.thresholds,
        }

    def _run(self) -> None:
        try:
            self._inspect_all()
            if self.failure is not None:
                self.source.give_up(self.failure)
        finally:
            self._is_over.set()

    def _inspect_all(self) -> None:
        name = self.settings.name
        try:
            for parts in self._pipeline.run(self._new_frames()):
                for start in range(0, len(parts), _MOST_AT_ONCE):
                    self._keep(parts[start : start + _MOST_AT_ONCE])
        except InputError as error:
            self.failure = error
        except Exception as error:
            self.failure = InputError(f"{type(error).__name__}: {printable(error)}")
            log.exception("%s", name)
        if self.failure is not None:
            log.error("%s: ended: %s", name, self.failure)

    def _new_frames(self) -> Iterator[Frame]:
        for frame in self.source.frames(self._stop):
            if self._known([frame]):
                self._pass_over(frame)
            else:
                yield frame

    def _known(self, frames: Sequence[Frame]) -> set[str]:
        return self.keeper.known(self.settings.name, [frame.identity for frame in frames])

    def _pass_over(self, frame: Frame) -> None:
        with self._passing_over:
            self.already_recorded += 1
        self.source.acknowledge(frame, None)

    def _kinds(self, part: Part) -> Sequence[str]:
        return wanted_kinds(part, self.sinks)

    def _look(self, part: Part, scale: float) -> None:
        if self.viewer is None or part.inspection is None or part.pixels is None:
            return
        try:
            part.views = self.viewer.look(self._record(part), part.pixels, part.inspection, scale)
        except Exception:  # who looks on must not stop the line
            log.exception("%s: a part cannot be shown", self.settings.name)

    def _record(self, part: Part) -> Record:
        return record_of(part, self.settings.deadline_ms)

    def _keep(self, parts: Sequence[Part]) -> None:
        # Several pictures of one identity may have been on their way at once.
        known = self._known([part.frame for part in parts])
        new: list[Part] = []
        others: list[Part] = []
        for part in parts:
            (others if part.frame.identity in known else new).append(part)
            known.add(part.frame.identity)
        if new:
            self._keep_new(new)
        for part in others:
            self._pass_over(part.frame)

    def _keep_new(self, parts: Sequence[Part]) -> None:
        records = [self._record(part) for part in parts]
        outgoing = [
            Outgoing(record, part.drawn.pictures)
            for record, part in zip(records, parts, strict=True)
        ]
        while not self._is_kept(outgoing):
            if self._stop.wait(_WAIT_FOR_ROOM):
                raise InputError(
                    f"stopped while there was no room for records: {len(records)} parts have none "
                    "and are inspected again where their source still has them."
                )
        for record, part in zip(records, parts, strict=True):
            self.counts.add(record)
            self._show(record, part)
            self.source.acknowledge(part.frame, record)

    def _show(self, record: Record, part: Part) -> None:
        if self.viewer is None:
            return
        try:
            self.viewer.shown(record, part.views)
        except Exception:  # as above
            log.exception("%s: a part cannot be shown", self.settings.name)

    def _is_kept(self, outgoing: Sequence[Outgoing]) -> bool:
        try:
            self.keeper.put(outgoing)
        except OutboxFull as error:
            log.warning("%s: %s", self.settings.name, error)
            return False
        return True

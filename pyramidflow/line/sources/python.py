"""Pictures that a Python program puts in, with :meth:`pyramidflow.line.Line.put`."""

import re
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from threading import Condition, Event
from typing import Any, Final

from pydantic import Field

from pyramidflow.data import Image
from pyramidflow.errors import (
    IdentityWaitsError,
    InputError,
    LineStoppedError,
    StationEndedError,
)
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.record import Record
from pyramidflow.line.sources.payload import payload_of
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings
from pyramidflow.line.storable import check_metadata

_LOOK_FOR_A_STOP: Final = 0.2
"""Seconds."""

_MADE: Final = re.compile(r"made-[0-9a-f]{24}")


def made_identity() -> str:
    """An identity for a picture that came without one; no other ever gets it."""
    return f"made-{secrets.token_hex(12)}"


class PythonSettings(SourceSettings):
    """How many pictures wait."""

    waiting: int = Field(8, ge=1, description="Most pictures that wait; then put waits.")


class PythonSource(Source):
    """Pictures from a Python program, by Line.put."""

    Settings = PythonSettings

    def __init__(self, settings: PythonSettings, station: str, recorded: Recorded) -> None:
        super().__init__(settings, station, recorded)
        self._waiting: deque[Frame] = deque()
        self._asked: dict[str, Future[Record | None]] = {}
        self._refusal: InputError | None = None
        self._changed = Condition()

    def put(
        self,
        image: "Image | bytes",
        identity: str | None,
        metadata: Mapping[str, Any] | None,
        timeout: float | None,
    ) -> "Future[Record | None]":
        """Hand over a picture; see :meth:`pyramidflow.line.Line.put`.

        Raises:
            LineStoppedError: the line is stopped.
            StationEndedError: the station has ended, or cannot begin.
            IdentityWaitsError: one with this identity waits already.
            InputError: the picture has no form that is known, or the metadata are no JSON.
            TimeoutError: no room within the time.
        """
        metadata = {} if metadata is None else metadata
        check_metadata(metadata)
        identity = identity or made_identity()
        frame = Frame(
            payload_of(image),
            identity,
            identity=identity,
            station=self.station,
            source="python",
            metadata=metadata,
        )
        with self._changed:
            asked = self._asked_for(frame.identity)
            try:
                self._wait_for_room(timeout)
            except BaseException:
                self._asked.pop(frame.identity, None)
                raise
            self._waiting.append(frame)
            self._changed.notify_all()
        return asked

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames in the order in which they were put; after a stop, those that wait already."""
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting, _LOOK_FOR_A_STOP)
            yield from self._next()
        with self._changed:
            self._refuse(_stopped())
        while found := self._next():
            yield from found

    def acknowledge(self, frame: Frame, record: Record | None) -> None:
        """Tell the program."""
        asked = self._asked.pop(frame.identity, None)
        if asked is not None and asked.set_running_or_notify_cancel():
            asked.set_result(record)

    def can_come_again(self, identity: str) -> bool:
        """Not where the identity was made here: the program may give its own ones twice."""
        return _MADE.fullmatch(identity) is None

    def close(self) -> None:
        """Take no more pictures, and cancel what was never looked at."""
        for asked in self._ended(_stopped()):
            asked.cancel()

    def give_up(self, reason: InputError) -> None:
        """Take no more pictures, and give the reason to who waits for a record."""
        ended = StationEndedError(str(reason))
        for asked in self._ended(ended):
            if asked.set_running_or_notify_cancel():
                asked.set_exception(ended)

    def _asked_for(self, identity: str) -> "Future[Record | None]":
        if self._refusal is not None:
            raise self._refusal
        if identity in self._asked:
            raise IdentityWaitsError(
                f"a picture with the identity {printable(identity)} waits: give another one."
            )
        self._asked[identity] = Future()
        return self._asked[identity]

    def _wait_for_room(self, timeout: float | None) -> None:
        most = self.settings.waiting
        self._changed.wait_for(lambda: len(self._waiting) < most or self._refusal, timeout)
        if self._refusal is not None:
            raise self._refusal
        if len(self._waiting) >= most:
            raise TimeoutError("the line takes no picture now: parts come too fast.")

    def _next(self) -> list[Frame]:
        """The frame that waits longest, if there is one."""
        with self._changed:
            found = [self._waiting.popleft()] if self._waiting else []
            self._changed.notify_all()
        return found

    def _refuse(self, reason: InputError) -> None:
        """Refuse all further pictures, and those that wait for room."""
        self._refusal = self._refusal or reason
        self._changed.notify_all()

    def _ended(self, reason: InputError) -> "list[Future[Record | None]]":
        """Refuse all further pictures; gives what was asked for and never will be there."""
        with self._changed:
            self._refuse(reason)
            asked = list(self._asked.values())
            self._asked.clear()
            self._waiting.clear()
        return asked


def _stopped() -> LineStoppedError:
    return LineStoppedError("the line is stopped: put pictures in while it runs.")

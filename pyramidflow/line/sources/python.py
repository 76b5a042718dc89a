"""Pictures that a Python program puts in, with :meth:`pyramidflow.line.Line.put`."""

import queue
import re
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Lock
from typing import Any, Final

from pydantic import Field

from pyramidflow.data import Image
from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.record import Record
from pyramidflow.line.sources.payload import payload_of
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings

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
        self._frames: queue.Queue[Frame] = queue.Queue(settings.waiting)
        self._asked: dict[str, Future[Record | None]] = {}
        self._refusal: InputError | None = None
        self._asking = Lock()

    def put(
        self,
        image: "Image | bytes",
        identity: str | None,
        metadata: Mapping[str, Any] | None,
        timeout: float | None,
    ) -> "Future[Record | None]":
        """Hand over a picture; see :meth:`pyramidflow.line.Line.put`.

        Raises:
            InputError: the line is stopped or cannot inspect, the picture has no form that is
                known, or one with this identity waits already.
            TimeoutError: no room within the time.
        """
        payload = payload_of(image)
        identity = identity or made_identity()
        asked: Future[Record | None] = Future()
        with self._asking:
            if self._refusal is not None:
                raise self._refusal
            if identity in self._asked:
                raise InputError(f"a picture with the identity {identity} waits: give another one.")
            self._asked[identity] = asked
        frame = Frame(
            payload,
            identity,
            identity=identity,
            station=self.station,
            source="python",
            metadata=dict(metadata or {}),
        )
        try:
            self._frames.put(frame, timeout=timeout)
        except queue.Full as error:
            self._asked.pop(identity, None)
            raise TimeoutError("the line takes no picture now: parts come too fast.") from error
        return asked

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames in the order in which they were put."""
        while True:
            try:
                yield self._frames.get(timeout=_LOOK_FOR_A_STOP)
            except queue.Empty:
                if stop.is_set():
                    return

    def acknowledge(self, frame: Frame, record: Record | None) -> None:
        """Tell the program."""
        if (asked := self._asked.pop(frame.identity, None)) is not None:
            asked.set_result(record)

    def can_come_again(self, identity: str) -> bool:
        """Not where the identity was made here: the program may give its own ones twice."""
        return _MADE.fullmatch(identity) is None

    def close(self) -> None:
        """Take no more pictures, and cancel what was never looked at."""
        stopped = InputError("the line is stopped: put pictures in while it runs.")
        for asked in self._refused(stopped):
            asked.cancel()

    def give_up(self, reason: InputError) -> None:
        """Take no more pictures, and give the reason to who waits for a record."""
        for asked in self._refused(reason):
            asked.set_exception(reason)

    def _refused(self, reason: InputError) -> "list[Future[Record | None]]":
        """Refuse all further pictures; gives what was asked for and never will be there."""
        with self._asking:
            self._refusal = self._refusal or reason
            waiting = [asked for asked in self._asked.values() if not asked.done()]
            self._asked.clear()
        with suppress(queue.Empty):  # who waits for room goes on, too
            while True:
                self._frames.get_nowait()
        return waiting

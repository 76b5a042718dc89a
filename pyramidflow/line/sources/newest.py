"""The newest picture of a camera that does not wait."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final

from pyramidflow.data import Pixels
from pyramidflow.line.frame import now

_LOOK_FOR_A_STOP: Final = 0.2
"""Seconds."""


@dataclass(frozen=True)
class Taken:
    """A picture with its time.

    Attributes:
        pixels: ``[H, W, 3]`` or ``[H, W]``.
        time: by the wall clock.
        arrived: by ``time.monotonic()``.
        number: of the picture since the camera was opened first.
        missed: pictures that came after the one before and were never looked at.
        metadata: what the camera said of it.
    """

    pixels: Pixels
    time: datetime
    arrived: float
    number: int
    missed: int
    metadata: dict[str, Any]


class Newest:
    """Room for one picture; a newer one takes its place, and that is counted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: Taken | None = None
        self._number = 0
        self._is_closed = False
        self.dropped = 0

    def put(self, pixels: Pixels, metadata: dict[str, Any] | None = None) -> None:
        """Hold a picture."""
        with self._changed:
            missed = 0
            if self._held is not None:
                missed = self._held.missed + 1
                self.dropped += 1
            self._held = Taken(pixels, now(), monotonic(), self._number, missed, metadata or {})
            self._number += 1
            self._changed.notify()

    def pictures(self, stop: threading.Event) -> Iterator[Taken]:
        """Pictures, each the newest when it is asked for, until a stop or :meth:`close`."""
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._held is not None or self._is_closed, _LOOK_FOR_A_STOP
                )
                held, self._held = self._held, None
                if held is None and self._is_closed:
                    return
            if held is not None:
                yield held

    def close(self) -> None:
        """No more pictures come."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

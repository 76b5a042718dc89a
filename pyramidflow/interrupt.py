"""Stopping cleanly: Ctrl-C or a termination request ends long work between two of its steps."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request, after what is needed to go on was written."""


class StopRequest:
    """Note SIGINT and SIGTERM instead of dying from them, while the context is open.

    The first request is noted in :attr:`requested`; a second one interrupts at once. Outside the
    main thread signals cannot be caught, so nothing changes there.

    Args:
        unit: what is finished before the work stops, as it is told to the user.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, unit: str = "step") -> None:
        self.requested = False
        self._unit = unit
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: a handler may interrupt one.
        with suppress(OSError):
            os.write(2, f"\nstopping after this {self._unit}; once more stops at once\n".encode())


@contextmanager
def termination_as_ctrl_c() -> Iterator[None]:
    """Answer SIGTERM with a ``KeyboardInterrupt`` while the context is open.

    By default the process would end without removing its temporary files. Outside the main thread
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

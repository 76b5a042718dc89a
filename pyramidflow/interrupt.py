"""Stopping cleanly: Ctrl-C or a termination request ends long work between two of its steps."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Final

# Windows has no SIGHUP.
TERMINATIONS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request, after what is needed to go on was written."""


class StopRequest:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying from them, while the context is open.

    The first request is noted in :attr:`requested`; a second one interrupts at once. Outside the
    main thread signals cannot be caught, so nothing changes there. A signal that the process was
    told to ignore (``nohup`` does so with SIGHUP, the end of a terminal) stays ignored.

    Args:
        unit: what is finished before the work stops, as it is told to the user.
    """

    SIGNALS = (signal.SIGINT, *TERMINATIONS)

    def __init__(self, unit: str = "step") -> None:
        self.requested = False
        self._unit = unit
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {
                s: signal.signal(s, self._note)
                for s in self.SIGNALS
                if signal.getsignal(s) is not signal.SIG_IGN
            }
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
    """Answer SIGTERM and SIGHUP with a ``KeyboardInterrupt`` while the context is open.

    By default the process would end without removing its temporary files. Outside the main thread
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {
        s: signal.signal(s, _interrupt)
        for s in TERMINATIONS
        if signal.getsignal(s) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

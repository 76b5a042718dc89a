"""Stopping cleanly: Ctrl-C or a termination request ends a training between two steps."""

import os
import signal
import threading
from types import FrameType, TracebackType


class Interrupted(KeyboardInterrupt):
    """A training was stopped on request, after its checkpoint was written."""


class StopRequest:
    """Note SIGINT and SIGTERM instead of dying from them, while the context is open.

    The first request is noted in :attr:`requested`; a second one interrupts at once. Outside the
    main thread signals cannot be caught, so nothing changes there.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
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
        os.write(2, b"\nstopping after this step; once more stops at once\n")

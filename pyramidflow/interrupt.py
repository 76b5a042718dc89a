"""Stopping cleanly: Ctrl-C or a termination request ends long work between two of its steps.

In the main thread signals ask for it, see :class:`StopRequest`. Work in another thread asks at its
checkpoints whether it is still wanted, see :func:`unless`.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Final, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], object]
"""What answers a signal, from its number and the frame that it came in."""

# Windows has no SIGHUP.
TERMINATIONS: Final = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request, after what is needed to go on was written."""


@contextmanager
def answering(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Answer signals while the context is open, and as before behind it.

    Outside the main thread signals cannot be caught, so nothing changes there.

    Args:
        handlers: the answers, by their signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_is_unwanted: ContextVar[Callable[[], bool] | None] = ContextVar("is_unwanted", default=None)


@contextmanager
def unless(is_unwanted: Callable[[], bool]) -> Iterator[None]:
    """Let the work of this thread end at its next checkpoint once nobody wants it any more.

    Args:
        is_unwanted: asked at each :func:`checkpoint` while the context is open.
    """
    before = _is_unwanted.set(is_unwanted)
    try:
        yield
    finally:
        _is_unwanted.reset(before)


def checkpoint() -> None:
    """A place between two steps of long work, such as two layers of a network.

    Raises:
        Interrupted: nobody wants the work any more, see :func:`unless`.
    """
    is_unwanted = _is_unwanted.get()
    if is_unwanted is not None and is_unwanted():
        raise Interrupted


class StopRequest:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying from them, while the context is open.

    The first request is noted in :attr:`requested`; a second one interrupts at once. Outside the
    main thread signals cannot be caught, so nothing changes there. A signal that the process was
    told to ignore (``nohup`` does so with SIGHUP, the end of a terminal) stays ignored.

    Args:
        unit: what is finished before the work stops, as it is told to the user.
        is_told: whether it is; of several processes one tells it.
    """

    SIGNALS = (signal.SIGINT, *TERMINATIONS)

    def __init__(self, unit: str = "step", is_told: bool = True) -> None:
        self.requested = False
        self._is_told = is_told
        self._unit = unit
        self._signals = ExitStack()

    def __enter__(self) -> "StopRequest":
        self._signals.enter_context(answering(_unless_ignored(self.SIGNALS, self._note)))
        return self

    def __exit__(self, *error: object) -> None:
        self._signals.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if not self._is_told:
            return
        # Not print: a handler may interrupt one.
        with suppress(OSError):
            os.write(2, f"\nstopping after this {self._unit}; once more stops at once\n".encode())


@contextmanager
def termination_as_ctrl_c() -> Iterator[None]:
    """Answer SIGTERM and SIGHUP with a ``KeyboardInterrupt`` while the context is open.

    By default the process would end without removing its temporary files. Outside the main thread
    nothing changes.
    """
    with answering(_unless_ignored(TERMINATIONS, _interrupt)):
        yield


def _unless_ignored(
    signals: Iterable[signal.Signals], handler: Handler
) -> dict[signal.Signals, Handler]:
    """One answer to several signals, but for those that the process was told to ignore."""
    return {s: handler for s in signals if signal.getsignal(s) is not signal.SIG_IGN}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

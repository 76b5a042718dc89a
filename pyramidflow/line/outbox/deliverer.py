"""The thread of a sink: takes what waits for it from the outbox, in order, and delivers it."""

import random
import sqlite3
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from pyramidflow.io.names import printable
from pyramidflow.line.outbox.kept import Waiting
from pyramidflow.line.outbox.spool import Spool
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkRefused

AT_ONCE: Final = 100
"""Records in one delivery: as many are in memory while a sink falls behind."""

FIRST_DELAY: Final = 0.5
"""Seconds after a first failure; doubled with each further one."""

_TICK: Final = 1.0


def back_off(failures: int, longest: float) -> float:
    """Seconds to wait after a number of failures in a row.

    ``min(longest, 0.5 · 2^(failures − 1))``, and of that a random share between a half and the
    whole: sinks that fail together do not come back together.

    Args:
        failures: from 1 on.
        longest: of the sink, in seconds.
    """
    longest = min(longest, FIRST_DELAY * 2.0 ** min(failures - 1, 32))
    return longest * random.uniform(0.5, 1)


class Deliverer:
    """Delivers to one sink, in a thread of its own.

    Args:
        name: of the sink.
        sink: where records go; closed by the thread.
        spool: a connection of its own.
    """

    def __init__(self, name: str, sink: Sink, spool: Spool) -> None:
        self._name = name
        self._sink = sink
        self._spool = spool
        spool.commit_without_sync()
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._changed = threading.Condition()
        self._is_news = True
        self._stop_at: float | None = None
        self._failures = 0
        self._delivered = 0
        self._last_error: str | None = None
        self._done: list[int] = []  # delivered, but the row is still there
        self._refused: tuple[int, str] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that something new waits."""
        with self._changed:
            self._is_news = True
            self._changed.notify()

    def stop(self, until: float) -> None:
        """Ask to end: when nothing waits, at a failure, or when the time is over.

        Args:
            until: by ``time.monotonic()``.
        """
        with self._changed:
            self._stop_at = until
            self._changed.notify()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, and close the sink and its connection.

        Args:
            timeout: seconds to wait for a sink that hangs; its thread then ends with the process.
        """
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():
            return
        try:
            self._sink.close()
        except Exception as error:  # a sink that cannot even close loses nothing
            self._last_error = printable(error)
        self._spool.close()

    def status(self) -> dict[str, Any]:
        """What a person should know, as JSON values."""
        return {
            "delivered": self._delivered,
            "failures_in_a_row": self._failures,
            "last_error": self._last_error,
            **self._sink.status(),
        }

    def _run(self) -> None:
        next_tick = monotonic()
        while True:
            waiting: Sequence[Waiting] = []
            delay = _TICK
            try:
                self._acknowledge()
                waiting = self._spool.next(self._name, AT_ONCE)
                if waiting:
                    self._deliver(waiting)
                elif monotonic() >= next_tick:
                    next_tick = monotonic() + _TICK
                    self._sink.tick()
                    self._failures = 0
            except Exception as error:  # nothing that a sink does may end its thread
                self._failures += 1
                self._last_error = _sentence(error)
                after = error.after if isinstance(error, SinkAway) else None
                longest = self._sink.longest_delay
                delay = back_off(self._failures, longest) if after is None else min(after, longest)
                if self._wait_or_end(delay, is_failing=True):
                    return
                continue
            if not waiting and self._wait_or_end(delay, is_failing=False):
                return
            if waiting and self._stop_at is not None and monotonic() >= self._stop_at:
                return

    def _deliver(self, waiting: Sequence[Waiting]) -> None:
        entries = [Entry(item.record, item.pictures) for item in waiting]
        done = len(waiting)
        try:
            self._sink.deliver(entries)
        except SinkAway as away:
            done = away.done
            raise
        except SinkRefused as refused:
            done = refused.done
            self._refused = waiting[done].part, _sentence(refused)
        except Exception:
            done = 0
            raise
        finally:
            self._done = [item.part for item in waiting[:done]]
            self._delivered += done
        self._acknowledge()
        self._failures = 0
        if self._refused is None and done == len(waiting):
            self._last_error = None

    def _acknowledge(self) -> None:
        """Remove what is delivered; a full disk can put that off, and nothing goes twice."""
        if self._done:
            self._spool.remove(self._name, self._done)
            self._done = []
        if self._refused is not None:
            part, reason = self._refused
            self._spool.set_aside(self._name, part, reason)
            self._refused = None
            self._last_error = reason

    def _wait_or_end(self, seconds: float, is_failing: bool) -> bool:
        """Wait for news or the end of a delay; whether to end."""
        until = monotonic() + seconds
        with self._changed:
            while True:
                left = until - monotonic()
                if self._stop_at is not None:
                    is_news, self._is_news = self._is_news, False
                    return is_failing or not is_news or monotonic() >= self._stop_at
                if left <= 0 or (self._is_news and not is_failing):
                    self._is_news = False
                    return False
                self._changed.wait(left)


def _sentence(error: Exception) -> str:
    if isinstance(error, (SinkAway, SinkRefused)):
        return printable(error)
    if isinstance(error, sqlite3.Error):
        return f"the outbox could not be read or written: {printable(error)}"
    return f"{type(error).__name__}: {printable(error)}"

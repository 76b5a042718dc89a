"""What changes in a folder, as it is told by the system, or found by listing it."""

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Final

from pyramidflow.io.names import printable

log = logging.getLogger(__name__)

TICK: Final = 25
"""Milliseconds after which the caller may look at its own, where nothing changes."""

_COLLECT: Final = 10
"""Milliseconds for which changes are collected."""


def changes_in(folder: Path, stop: Event, recursive: bool, polling: bool) -> Iterator[list[Path]]:
    """Paths that changed, again and again until a stop; often none.

    A folder that is away is waited for. The caller lists it from time to time: a system that is
    short of events loses some.

    Args:
        folder: the folder.
        stop: ends it.
        recursive: also below it.
        polling: do not wait for events.
    """
    from watchfiles import watch

    yield []
    while not stop.is_set():
        if polling:
            stop.wait(TICK / 1000)
            yield []
            continue
        try:
            for changes in watch(
                folder,
                watch_filter=None,
                debounce=_COLLECT,
                step=_COLLECT // 2,
                rust_timeout=TICK,
                yield_on_timeout=True,
                recursive=recursive,
                stop_event=stop,
                ignore_permission_denied=True,  # of folders below; listing them says so
                raise_interrupt=False,
            ):
                yield [Path(path) for _, path in changes]
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be watched (%s): trying again", printable(folder), error)
            stop.wait(1)
            yield []

"""Detectors that get ready when a test says so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyramidflow.interrupt import checkpoint
from pyramidflow.line.pipeline.inspector import Inspector, OpenedDetector


@contextmanager
def held_preparations(
    failure: Exception | None = None, first: int = 0
) -> Iterator[threading.Event]:
    """Preparations wait until the event is set, and then succeed or fail.

    Args:
        failure: of those that waited.
        first: so many go through at once, as usual.
    """
    go = threading.Event()
    usual = OpenedDetector.prepared
    begun = 0

    def waits(opened: OpenedDetector) -> Inspector:
        nonlocal begun
        begun += 1
        if begun <= first:
            return usual(opened)
        while not go.wait(0.01):
            checkpoint()
        if failure is not None:
            raise failure
        return usual(opened)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenedDetector, "prepared", waits)
        yield go

"""Pictures that a program puts in: their order, their end, and what is refused."""

import threading
import time
from concurrent.futures import CancelledError
from datetime import datetime

import numpy as np
import pytest

from pyramidflow.errors import (
    IdentityWaitsError,
    InputError,
    LineStoppedError,
    StationEndedError,
)
from pyramidflow.line.record import Record
from pyramidflow.line.sources.python import PythonSource
from tests.line.records import eventually

PIXELS = np.zeros((2, 2, 3), np.uint8)
ENDED = "the disk is broken: put another one in."


def source(waiting=2):
    return PythonSource(PythonSource.Settings(waiting=waiting), "press", None)


def put(found, identity=None, metadata=None, timeout=None):
    return found.put(PIXELS, identity, metadata, timeout)


def in_background(work, *given):
    """What a call in another thread raises, once it has."""
    raised = []

    def call():
        try:
            work(*given)
        except InputError as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return raised


def test_a_stop_ends_the_source_although_a_program_goes_on_putting():
    found, stop, put_in, taken = source(), threading.Event(), [], []

    def puts():
        while True:
            put_in.append(put(found))

    refused = in_background(puts)
    for frame in found.frames(stop):
        taken.append(frame)
        found.acknowledge(frame, Record(path=""))
        if len(taken) == 20:
            stop.set()
    assert eventually(lambda: refused)
    assert isinstance(refused[0], LineStoppedError)
    assert len(taken) == len(put_in)
    assert all(each.result(0) for each in put_in)
    with pytest.raises(LineStoppedError, match="the line is stopped: put pictures in"):
        put(found)


def test_who_waits_for_room_or_a_record_is_told_why_the_station_ended():
    found = source(waiting=1)
    asked = put(found, "1")
    refused = in_background(put, found, "2")
    time.sleep(0.1)
    assert not refused
    found.give_up(InputError(ENDED))
    assert eventually(lambda: refused)
    with pytest.raises(StationEndedError, match=ENDED):
        asked.result(0)
    with pytest.raises(StationEndedError, match=ENDED):
        put(found, "3")
    found.close()
    with pytest.raises(StationEndedError, match=ENDED):
        put(found, "4")
    assert str(refused[0]) == ENDED


def test_what_was_never_looked_at_is_cancelled_at_the_end():
    found = source()
    asked = put(found)
    found.close()
    with pytest.raises(CancelledError):
        asked.result(0)
    with pytest.raises(LineStoppedError):
        put(found)


def test_a_full_source_and_an_identity_that_waits_are_told_apart():
    found = source(waiting=1)
    put(found, "a\0b")
    with pytest.raises(TimeoutError, match="parts come too fast"):
        put(found, "other", timeout=0)
    with pytest.raises(IdentityWaitsError, match=r"the identity a\\x00b waits: give another one"):
        put(found, "a\0b")
    frame = next(found.frames(threading.Event()))
    found.acknowledge(frame, None)
    assert put(found, "other", timeout=0)


def test_a_program_may_give_up_waiting_for_a_record():
    found = source()
    asked = put(found, "1"), put(found, "2")
    assert asked[0].cancel()
    frames = found.frames(threading.Event())
    found.acknowledge(next(frames), Record(path="x"))
    assert asked[1].cancel()
    found.give_up(InputError(ENDED))
    assert all(each.cancelled() for each in asked)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (
            {"shot": 1, "taken": datetime(2026, 3, 1)},
            "the metadata's 'taken' is datetime.datetime(",
        ),
        ({"gain": float("nan")}, "the metadata's 'gain' is nan: "),
        ({"list": [{"gain": float("inf")}]}, "the metadata's 'list' is [{'gain': inf}]: "),
        ({3: "x"}, "the metadata's 3 is 'x': "),
        ([1], "the metadata are [1]: "),
    ],
    ids=str,
)
def test_metadata_that_are_no_json_are_refused(metadata, said):
    found = source()
    with pytest.raises(InputError) as caught:
        put(found, "1", metadata)
    assert str(caught.value).startswith(said)
    assert put(found, "1", {"shot": (1, 2.5, None, {"good": True})})


def test_metadata_are_those_of_the_moment():
    found, metadata = source(), {"shots": [1]}
    put(found, metadata=metadata)
    metadata["shots"].append(2)
    assert next(found.frames(threading.Event())).metadata == {"shots": [1]}

"""A station: what it passes over, what ends it, and who is told."""

import os
import sqlite3
import threading

import numpy as np
import pytest

from pyramidflow.errors import LineStoppedError, StationEndedError
from pyramidflow.line import Line
from tests.line.records import eventually
from tests.line.running import configuration, picture, records_in
from tests.support.tiny import write_image

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")
pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")


def test_two_pictures_of_one_identity_are_one_part_and_the_second_is_counted(
    tmp_path, detector_file, caplog
):
    incoming = tmp_path / "in"
    incoming.mkdir()
    source = {
        "kind": "folder",
        "path": incoming,
        "pattern": r"(?P<identity>\d+)_\w+\.png",
        "after": "archive",
        "archive": tmp_path / "done",
    }
    rng = np.random.default_rng(0)
    for side in ("left", "right"):
        write_image(incoming / f"4711_{side}.png", rng)

    def state():
        return line.status()["stations"]["press"]

    with Line(configuration(tmp_path, detector_file, source)) as line:
        assert eventually(lambda: state()["ok"] and state()["already_recorded"], 60)
        write_image(incoming / "4711_top.png", rng)
        assert eventually(lambda: state()["already_recorded"] == 2, 60)
        assert state()["ok"] == 1
    assert [record["identity"] for record in records_in(tmp_path)] == ["4711"]
    said = [r.message for r in caplog.records if "give each picture an identity" in r.message]
    assert len(said) == 2
    assert len(list((tmp_path / "done").rglob("*.png"))) == 3


def test_a_file_name_that_is_no_text_stops_nothing(tmp_path, detector_file):
    incoming = tmp_path / "in"
    incoming.mkdir()
    write_image(tmp_path / "x.png", np.random.default_rng(0))
    try:
        os.rename(tmp_path / "x.png", os.fsencode(incoming) + b"/Teil_T\xfcr_2.png")
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    source = {"kind": "folder", "path": incoming, "pattern": r"(?P<identity>.+)\.png"}
    for _ in range(2):
        with Line(configuration(tmp_path, detector_file, source)) as line:
            assert eventually(lambda: _told(line) == 1, 60)
            assert line.status()["stations"]["press"]["failure"] is None
    assert [record["identity"] for record in records_in(tmp_path)] == [r"Teil_T\xfcr_2"]


def _told(line):
    state = line.status()["stations"]["press"]
    return state["ok"] + state["already_recorded"]


def test_a_station_that_ends_tells_everybody_who_waits(tmp_path, detector_file):
    sentence = "OperationalError: the file is no database"
    with Line(configuration(tmp_path, detector_file)) as line:
        line.put(picture(), "first").result(60)

        def put(entries):
            raise sqlite3.OperationalError("the file is no database")

        line._stations["press"].keeper.put = put
        asked = [line.put(picture(), str(number)) for number in range(3)]
        for each in asked:
            with pytest.raises(StationEndedError, match=sentence):
                each.result(60)
        assert line.wait(60)
        with pytest.raises(StationEndedError, match=sentence):
            line.put(picture())
        del line._stations["press"].keeper.put


def test_a_line_stops_while_a_program_goes_on_putting(tmp_path, detector_file):
    line = Line(configuration(tmp_path, detector_file))
    line.start()
    line.put(picture()).result(60)
    asked, refused = [], threading.Event()

    def puts():
        try:
            while True:
                asked.append(line.put(picture()))
        except LineStoppedError:
            refused.set()

    for work in (puts, line.stop):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert refused.wait(10)
    assert all(each.result(0).verdict == "ok" for each in asked)

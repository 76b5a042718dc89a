"""A picture in, its record out."""

import base64
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.line.pipeline import part
from tests.service.served import configuration, picture, served


def pixels(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def test_the_record_is_what_the_session_says(shared, detector_file):
    session = Detector.load(detector_file).session
    answer = shared.inspect(picture(1), identity="one", heat_map=True)
    assert answer.status_code == 200
    record = answer.json()
    assert record["score"] == session.inspect(pixels(picture(1))).score
    assert (record["station"], record["identity"]) == ("press", "one")
    heat = Image.open(io.BytesIO(base64.b64decode(record["heat_map"])))
    assert (heat.format, heat.size) == ("PNG", (24, 24))
    kept = shared.client.get("/api/part", params={"station": "press", "identity": "one"}).json()
    assert kept["score"] == record["score"]


def test_without_an_identity_each_picture_is_new(shared):
    found = {shared.inspect(picture()).json()["identity"] for _ in range(3)}
    assert len(found) == 3


def test_an_identity_is_inspected_once(shared):
    first = shared.inspect(picture(2), identity="twice").json()
    again = shared.inspect(picture(3), identity="twice")
    assert again.status_code == 200
    assert again.json()["score"] == first["score"]


def test_what_is_no_picture_has_a_record_and_is_refused(shared):
    answer = shared.inspect(b"garbage", identity="garbage")
    assert answer.status_code == 422
    assert answer.json()["verdict"] is None
    assert "not an image" in answer.json()["error"]
    assert shared.inspect(b"").status_code == 400


@pytest.mark.parametrize(
    "query",
    [{"station": "drill"}, {"identity": ""}, {"identity": "a\nb"}, {"identity": "x" * 201}],
    ids=str,
)
def test_what_does_not_fit_is_refused(shared, query):
    assert shared.inspect(picture(), **query).status_code in (400, 422)


def test_a_full_line_answers_at_once_and_loses_nothing(tmp_path, detector_file, monkeypatch):
    held = threading.Event()
    usual = part.inspect

    def waits(parts, session):
        held.wait(60)
        usual(parts, session)

    given = configuration(tmp_path, detector_file, waiting=1)
    given["stations"][0]["source"]["waiting"] = 1
    with served(given) as found, ThreadPoolExecutor(14) as pool:
        monkeypatch.setattr(part, "inspect", waits)
        asked = [pool.submit(found.inspect, picture(), identity=str(i)) for i in range(14)]
        time.sleep(1)
        refused = [each.result() for each in asked if each.done()]
        start = time.monotonic()
        late = found.inspect(picture(), identity="late")
        assert time.monotonic() - start < 5
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        held.set()
        answers = [each.result() for each in asked]
        assert {answer.status_code for answer in refused} == {503}
        taken = [answer for answer in answers if answer.status_code == 200]
        assert len(taken) == 14 - len(refused)
        kept = found.client.get("/api/parts").json()["parts"]
        assert {part["identity"] for part in kept} == {a.json()["identity"] for a in taken}


def test_a_station_that_ended_says_why_at_once(tmp_path, detector_file):
    def put(entries):
        raise ZeroDivisionError("a mistake")

    with served(configuration(tmp_path, detector_file)) as found:
        found.line._stations["press"].keeper.put = put
        for _ in range(2):
            answer = found.inspect(picture(), identity="1")
            assert (answer.status_code, answer.json()["detail"]) == (
                503,
                "ZeroDivisionError: a mistake",
            )
        del found.line._stations["press"].keeper.put


def test_an_identity_that_is_being_inspected_is_refused(tmp_path, detector_file, monkeypatch):
    held = threading.Event()
    usual = part.inspect

    def waits(parts, session):
        held.wait(60)
        usual(parts, session)

    with served(configuration(tmp_path, detector_file)) as found, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(part, "inspect", waits)
        first = pool.submit(found.inspect, picture(), identity="stopped")
        time.sleep(0.5)
        again = found.inspect(picture(), identity="stopped")
        held.set()
        assert (again.status_code, first.result().status_code) == (409, 200)


def test_a_line_without_the_source_python_takes_no_picture(tmp_path, detector_file):
    (tmp_path / "in").mkdir()
    source = {"kind": "folder", "path": tmp_path / "in"}
    with served(configuration(tmp_path, detector_file, source=source)) as found:
        answer = found.inspect(picture())
        assert answer.status_code == 400
        assert "python" in answer.json()["detail"]

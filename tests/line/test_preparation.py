"""A line whose detectors are not ready yet: what it says, what waits, and how it stops."""

import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.interrupt import Interrupted, unless
from pyramidflow.line import Line
from tests.line.preparing import held_preparations
from tests.line.records import eventually
from tests.support.backends import require_backend
from tests.support.tiny import write_image

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")
pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, of the extra line")
pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")

TOO_SMALL = "the budget is 1 byte: give more."


def configuration(tmp_path, detector, *names, source=None):
    source = source or {"kind": "python"}
    return {
        "store": tmp_path / "line.sqlite",
        "stations": [
            {"name": name, "detector": detector, "source": source} for name in names or ["press"]
        ],
    }


def picture(seed=0):
    return np.random.default_rng(seed).integers(60, 160, (24, 24, 3), np.uint8)


def test_pictures_wait_until_their_station_can_inspect(tmp_path, detector_file):
    with held_preparations() as go, Line(configuration(tmp_path, detector_file)) as line:
        assert line.preparing == ["press"]
        assert not line.wait_until_ready(0)
        state = line.status()["stations"]["press"]
        assert (state["preparing"], state["running"], state["threshold"]) == (True, False, None)
        assert len(state["detector"]) == 64
        asked = [line.put(picture(seed), str(seed)) for seed in range(3)]
        assert not line.wait(0.2)
        assert not any(each.done() for each in asked)
        with pytest.raises(InputError, match="press is preparing"):
            line.move_thresholds("press", 2.0, 1.0, "Ada")
        go.set()
        assert [each.result(60).verdict for each in asked] == ["ok"] * 3
        assert line.wait_until_ready(60)
        state = line.status()["stations"]["press"]
        assert (state["preparing"], state["running"], line.preparing) == (False, True, [])
        assert state["threshold"] == Detector.load(detector_file).threshold


def test_a_watched_folder_loses_no_picture_that_comes_meanwhile(tmp_path, detector_file):
    incoming, rng = tmp_path / "in", np.random.default_rng(0)
    incoming.mkdir()
    source = {"kind": "folder", "path": incoming, "after": "archive", "archive": tmp_path / "done"}
    write_image(incoming / "before.png", rng)
    with (
        held_preparations() as go,
        Line(configuration(tmp_path, detector_file, source=source)) as line,
    ):
        write_image(incoming / "meanwhile.png", rng)
        time.sleep(0.5)
        assert {path.name for path in incoming.iterdir()} >= {"before.png", "meanwhile.png"}
        go.set()
        assert eventually(lambda: line.status()["stations"]["press"]["ok"] == 2, 60)
    assert {path.name for path in (tmp_path / "done").rglob("*.png")} == {
        "before.png",
        "meanwhile.png",
    }


def test_a_stop_meanwhile_is_quick_and_leaves_what_was_not_inspected(tmp_path, detector_file):
    with held_preparations():
        line = Line(configuration(tmp_path, detector_file))
        line.start()
        asked = line.put(picture(), "1")
        start = time.monotonic()
        line.stop()
        assert time.monotonic() - start < 5
        assert line.wait(0)
        with pytest.raises(CancelledError):
            asked.result(0)
        with pytest.raises(InputError, match="the line is stopped"):
            line.put(picture())
    with Line(configuration(tmp_path, detector_file)) as line:
        assert line.put(picture(), "1").result(60).verdict == "ok"


def test_stations_begin_one_after_the_other(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file, "press", "drill")
    with held_preparations(first=1) as go, Line(given) as line:
        assert line.put(picture(), station="press").result(60).verdict == "ok"
        assert line.preparing == ["drill"]
        asked = line.put(picture(), station="drill")
        go.set()
        assert asked.result(60).verdict == "ok"


def test_a_detector_that_does_not_get_ready_ends_the_line_with_its_sentence(
    tmp_path, detector_file
):
    given = configuration(tmp_path, detector_file, "press", "drill", "mill")
    sentence = rf"the configuration: stations\[1\]: {TOO_SMALL}"
    with held_preparations(InputError(TOO_SMALL), first=1) as go, Line(given) as line:
        asked = line.put(picture(), station="drill")
        full = [line.put(picture(), station="mill") for _ in range(8)]
        refused = []

        def put_more():
            with pytest.raises(InputError, match=sentence) as caught:
                line.put(picture(), station="mill")
            refused.append(caught.value)

        more = threading.Thread(target=put_more)
        more.start()
        go.set()
        for each in (asked, *full):
            with pytest.raises(InputError, match=sentence):
                each.result(60)
        more.join(60)
        assert refused
        with pytest.raises(InputError, match=sentence):
            line.wait(60)
        with pytest.raises(InputError, match=sentence):
            line.wait_until_ready(60)
        with pytest.raises(InputError, match=sentence):
            line.put(picture(), station="drill")
        assert TOO_SMALL in line.reload()[0]
        stations = line.status()["stations"]
        assert [state["failure"] is None for state in stations.values()] == [True, False, False]
        assert line.preparing == []
        assert line.has_errors


def test_what_is_no_refusal_is_raised_as_it_is(tmp_path, detector_file):
    with (
        held_preparations(MemoryError("no memory")) as go,
        Line(configuration(tmp_path, detector_file)) as line,
    ):
        go.set()
        with pytest.raises(MemoryError, match="no memory"):
            line.wait(60)


def test_a_reload_waits_for_stations_that_prepare(tmp_path, detector_file):
    file = tmp_path / "part.safetensors"
    file.write_bytes(detector_file.read_bytes())
    said = []
    with held_preparations() as go, Line(configuration(tmp_path, file)) as line:
        other = Detector.load(detector_file)
        other.threshold = 123.0
        other.save(file)
        reloading = threading.Thread(target=lambda: said.extend(line.reload()))
        reloading.start()
        reloading.join(0.3)
        assert reloading.is_alive()
        go.set()
        reloading.join(60)
        assert "threshold 123" in said[0]
        assert line.thresholds["press"]["threshold"] == 123.0


def test_a_line_starts_once(tmp_path, detector_file):
    line = Line(configuration(tmp_path, detector_file))
    line.open()
    with pytest.raises(InputError, match="started already"):
        line.open()
    with line, pytest.raises(InputError, match="started already"):
        line.start()
    with pytest.raises(InputError, match="started already"):
        line.start()


def test_a_line_that_was_only_opened_can_be_stopped(tmp_path, detector_file):
    line = Line(configuration(tmp_path, detector_file))
    line.open()
    line.stop()
    with Line(configuration(tmp_path, detector_file)) as other:
        assert other.put(picture()).result(60).verdict == "ok"


def test_the_work_of_getting_ready_has_many_places_to_end(detector_file):
    """After each of them it ends, and a later preparation of the same detector is whole."""
    require_backend("cpu")
    detector = Detector.load(detector_file, device="cpu")
    reference = Detector.load(detector_file, device="cpu").session.inspect(picture()).score
    places, left = 0, 0

    def is_unwanted():
        nonlocal left
        left -= 1
        return left < 0

    while True:
        left = places
        try:
            with unless(is_unwanted):
                session = detector.prepare()
                found = session.inspect(picture())
        except Interrupted:
            places += 1
            continue
        break
    assert places >= len(session.runtime.plan.layers)
    assert found.score == reference

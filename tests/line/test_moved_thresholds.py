"""Thresholds that a person moves while the line runs, and what looks on."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.line import Line
from pyramidflow.line.moved_thresholds import MovedThresholds

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")
pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, of the extra line")

CONFIGURED = {"threshold": None, "review_threshold": None, "pixel_threshold": None}


def configuration(tmp_path, detector, **station):
    source = {"kind": "python"}
    return {
        "store": tmp_path / "line.sqlite",
        "stations": [{"name": "press", "detector": detector, "source": source, **station}],
    }


def picture(seed=0):
    return np.random.default_rng(seed).integers(60, 160, (24, 24, 3), np.uint8)


class Looking:
    def __init__(self):
        self.seen = []
        self.is_broken = False

    def look(self, record, pixels, inspection, scale):
        if self.is_broken:
            raise RuntimeError("broken")
        return {"size": bytes(pixels.shape[:2]), "scale": str(scale).encode()}

    def shown(self, record, pictures):
        self.seen.append((record, pictures))
        if self.is_broken:
            raise RuntimeError("broken")


def test_moved_thresholds_judge_the_next_part_and_those_after_a_restart(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file)
    with Line(given) as line:
        assert line.put(picture()).result(60).verdict == "ok"
        said = line.move_thresholds("press", 2e-6, 1e-6, "Ada")
        assert "Ada" in said
        assert line.thresholds["press"]["threshold"] == 2e-6
        record = line.put(picture()).result(60)
        assert (record.verdict, record.findings["threshold"]) == ("ng", 2e-6)
        assert line.reload() == []
        with pytest.raises(InputError, match="review"):
            line.move_thresholds("press", 1.0, 2.0, "Ada")
        with pytest.raises(InputError, match="one of press"):
            line.move_thresholds("drill", 2.0, 1.0, "Ada")
        with pytest.raises(InputError, match="who"):
            line.move_thresholds("press", 2.0, 1.0, " ")
        assert line.thresholds["press"]["threshold"] == 2e-6
    with Line(given) as line:
        assert line.put(picture(1)).result(60).findings["review_threshold"] == 1e-6
    with Line(configuration(tmp_path, detector_file, threshold=7.0)) as line:
        assert line.put(picture(2)).result(60).findings["threshold"] == 7.0


def test_a_new_detector_ends_moved_thresholds(tmp_path, detector_file):
    file = tmp_path / "part.safetensors"
    shutil.copy(detector_file, file)
    with Line(configuration(tmp_path, file)) as line:
        line.wait_until_ready()
        line.move_thresholds("press", 2e-6, 1e-6, "Ada")
        other = Detector.load(detector_file)
        other.threshold = 123.0
        other.save(file)
        [said] = line.reload()
        assert "threshold 123" in said
        assert line.thresholds["press"]["threshold"] == 123.0


def test_a_reload_while_thresholds_are_written_is_not_undone(tmp_path, detector_file, monkeypatch):
    file = tmp_path / "part.safetensors"
    shutil.copy(detector_file, file)
    is_writing, goes_on = threading.Event(), threading.Event()
    usual = MovedThresholds.move

    def slowly(*given):
        is_writing.set()
        assert goes_on.wait(60)
        usual(*given)

    monkeypatch.setattr(MovedThresholds, "move", slowly)
    with Line(configuration(tmp_path, file)) as line, ThreadPoolExecutor(2) as threads:
        line.wait_until_ready()
        moved = threads.submit(line.move_thresholds, "press", 2e-6, 1e-6, "Ada")
        assert is_writing.wait(60)
        other = Detector.load(detector_file)
        other.threshold = 123.0
        other.save(file)
        reloaded = threads.submit(line.reload)
        wait([reloaded], 2)
        goes_on.set()
        assert "Ada moved" in moved.result(60)
        [said] = reloaded.result(60)
        assert "threshold 123; before" in said
        assert line.thresholds["press"]["threshold"] == 123.0


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"press": 1},
        {
            "press": {
                "thresholds": {"threshold": -1},
                "who": "",
                "time": "",
                "detector": "",
                "instead_of": {},
            }
        },
    ],
    ids=["a list", "no entry", "a negative threshold"],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, entry):
    path = tmp_path / "moved.json"
    path.write_text(json.dumps(entry))
    with pytest.raises(InputError, match="moved thresholds"):
        MovedThresholds(path)


def test_an_entry_is_read_by_another_process(tmp_path):
    path = tmp_path / "moved.json"
    MovedThresholds(path).move("press", "d", CONFIGURED, {"threshold": 3.0}, "Ada")
    assert MovedThresholds(path).of("press", "d", CONFIGURED) == {"threshold": 3.0}
    assert MovedThresholds(path).of("press", "other", CONFIGURED) == {}
    assert MovedThresholds(path).of("drill", "d", CONFIGURED) == {}


def test_a_viewer_sees_each_part_and_cannot_stop_the_line(tmp_path, detector_file):
    looking = Looking()
    line = Line(configuration(tmp_path, detector_file))
    line.watch(looking)
    with line:
        first = line.put(picture(), "1").result(60)
        line.put(b"garbage", "2").result(60)
        looking.is_broken = True
        line.put(picture(), "3").result(60)
        line.put(picture(), "4").result(60)
        with pytest.raises(InputError, match="before"):
            line.watch(looking)
    seen = {record.identity: pictures for record, pictures in looking.seen}
    assert list(seen) == ["1", "2", "3", "4"]
    assert seen["1"]["size"] == bytes((24, 24))
    assert float(seen["1"]["scale"]) == 2 * first.findings["threshold"]
    assert seen["2"] == seen["3"] == {}

"""The line as a whole: every part a record, whatever happens, and changes between two parts."""

import shutil
import sqlite3
import threading
import time
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.line import Line
from pyramidflow.line.pipeline.pipeline import Pipeline
from pyramidflow.line.sinks.jsonl import JsonlSink
from tests.line.running import configuration, picture, records_in
from tests.support.tiny import write_image

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")


def test_what_python_puts_in_comes_back_as_a_record_with_its_identity(tmp_path, detector_file):
    reference = Detector.load(detector_file).session
    with Line(configuration(tmp_path, detector_file)) as line:
        asked = [
            line.put(picture(seed), identity=f"part {seed}", metadata={"shot": seed})
            for seed in range(5)
        ]
        given = [each.result(60) for each in asked]
        assert line.put(picture(7), identity="part 3").result(60) is None
    found = records_in(tmp_path)
    assert [record["identity"] for record in found] == [f"part {seed}" for seed in range(5)]
    for seed, (record, written) in enumerate(zip(given, found, strict=True)):
        assert record.score == written["score"] == reference.inspect(picture(seed)).score
        assert written["metadata"] == {"shot": seed}
        assert written["verdict"] == "ok"
        assert len(written["detector"]) == 64
        assert set(written["queues"]) == {"decoding", "inspecting", "writing"}
        times = written["times"]
        assert {"reading", "resizing", "inspecting", "total"} <= set(times)
        assert times["total"] >= times["reading"] + times["inspecting"] > 0
    with pytest.raises(InputError, match="stopped"):
        line.put(picture())


def test_of_pictures_that_left_the_history_those_that_can_come_again_stay_known(
    tmp_path, detector_file, monkeypatch
):
    monkeypatch.setattr("pyramidflow.line.outbox.outbox._SECONDS_BETWEEN_PRUNINGS", 0.0)
    given = configuration(tmp_path, detector_file)
    given |= {"sinks": [], "limits": {"history_days": 1e-9}}
    with Line(given) as line:
        made = [line.put(picture(seed)).result(60).identity for seed in range(2)]
        line.put(picture(2), identity="from a code").result(60)
        assert line.put(picture(2), identity="from a code").result(60) is None
    assert len(set(made)) == 2
    with sqlite3.connect(given["store"]) as store:
        assert store.execute("SELECT count(*) FROM parts").fetchall() == [(0,)]
        assert store.execute("SELECT identity FROM remembered").fetchall() == [("from a code",)]


def test_a_stop_closes_each_sink_once(tmp_path, detector_file, monkeypatch):
    closed = []
    monkeypatch.setattr(JsonlSink, "close", lambda sink: closed.append(sink))
    with Line(configuration(tmp_path, detector_file)) as line:
        line.put(picture()).result(60)
    line.stop()
    assert len(closed) == 1


def test_broken_pictures_are_records_and_the_line_goes_on(tmp_path, detector_file):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        write_image(tmp_path / "in" / f"{index}.png", rng)
    (tmp_path / "in" / "1.png").write_bytes(b"garbage")
    source = {"kind": "files", "paths": [tmp_path / "in" / "*.png"]}
    with Line(configuration(tmp_path, detector_file, source)) as line:
        assert line.wait(60)
        assert line.has_errors
        counts = line.status()["stations"]["press"]
    assert (counts["ok"], counts["errors"]) == (3, 1)
    found = records_in(tmp_path)
    assert [record["verdict"] for record in found] == ["ok", None, "ok", "ok"]
    assert "1.png is not an image" in found[1]["error"]
    with Line(configuration(tmp_path, detector_file, source)) as line:
        assert line.wait(60)
    assert len(records_in(tmp_path)) == 4


def test_pictures_that_come_too_fast_are_let_go_with_a_record_each(
    tmp_path, detector_file, monkeypatch
):
    usual = Pipeline._inspect

    def slow(self, batch):
        time.sleep(0.05)
        usual(self, batch)

    monkeypatch.setattr(Pipeline, "_inspect", slow)
    station = {"when_full": "drop-oldest", "waiting": 2}
    with Line(configuration(tmp_path, detector_file, **station)) as line:
        asked = [line.put(picture(seed), identity=str(seed)) for seed in range(40)]
        records = [each.result(60) for each in asked]
        counts = line.status()["stations"]["press"]
    dropped = [record for record in records if record.dropped]
    assert 0 < len(dropped) < 40
    assert counts["dropped"] == len(dropped)
    assert counts["ok"] == 40 - len(dropped)
    assert all(r.verdict is None and "was let go" in r.error for r in dropped)
    assert not records[-1].dropped
    assert [r["identity"] for r in records_in(tmp_path)] == [str(seed) for seed in range(40)]


def test_late_parts_are_marked_and_counted(tmp_path, detector_file, monkeypatch):
    usual = Pipeline._inspect

    def slow(self, batch):
        if batch[0].frame.identity == "1":
            time.sleep(0.5)
        usual(self, batch)

    monkeypatch.setattr(Pipeline, "_inspect", slow)
    with Line(configuration(tmp_path, detector_file, deadline_ms=400)) as line:
        late = [line.put(picture(), identity=str(index)).result(60).late for index in range(3)]
        assert line.status()["stations"]["press"]["late"] == late.count(True)
    assert late[1]


def test_a_detector_changes_between_two_parts_and_a_broken_one_does_not(tmp_path, detector_file):
    file = tmp_path / "part.safetensors"
    shutil.copy(detector_file, file)
    toml = tmp_path / "line.toml"
    text = (
        'store = "line.sqlite"\n[[stations]]\nname = "press"\ndetector = "part.safetensors"\n{}\n'
        'source = {{kind = "python"}}\n[[sinks]]\nkind = "jsonl"\nfolder = "records"\n'
    )
    toml.write_text(text.format(""))
    with Line(toml) as line:
        first = line.put(picture()).result(60)
        assert line.reload() == []
        strict = Detector.load(detector_file)
        strict.threshold = 1e-6
        strict.save(file)
        [said] = line.reload()
        assert "press: inspects with" in said
        second = line.put(picture()).result(60)
        file.write_bytes(b"broken")
        [said] = line.reload()
        assert "the old detector stays" in said
        third = line.put(picture()).result(60)
        shutil.copy(detector_file, file)
        toml.write_text(text.format("threshold = 2e-6"))
        line.reload()
        fourth = line.put(picture()).result(60)
        toml.write_text("stations = 3")
        [said] = line.reload()
        assert "not reloaded" in said
        fifth = line.put(picture()).result(60)
    verdicts = [record.verdict for record in (first, second, third, fourth, fifth)]
    assert verdicts == ["ok", "ng", "ng", "ng", "ng"]
    assert first.detector != second.detector == third.detector
    assert fourth.detector == first.detector
    assert fourth.findings["threshold"] == 2e-6
    assert len(records_in(tmp_path)) == 5


def test_stations_take_turns_and_keep_their_records_apart(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file)
    given["stations"].append({**given["stations"][0], "name": "drill"})
    given["sinks"][0]["stations"] = ["drill"]
    with Line(given) as line:
        asked = [
            line.put(picture(i), str(i), station=name)
            for i in range(4)
            for name in ("press", "drill")
        ]
        assert [each.result(60).station for each in asked] == ["press", "drill"] * 4
        with pytest.raises(InputError, match="press, drill"):
            line.put(picture())
    assert [record["station"] for record in records_in(tmp_path)] == ["drill"] * 4


WRONG = [
    ({"detector": "missing.safetensors"}, [], "stations[0].detector: ", "missing.safetensors"),
    ({"precision": "half"}, [], "stations[0]: the precision is 'half'", "float32"),
    ({"device": "tpu"}, [], "stations[0]: the device 'tpu'", "give cpu, or auto"),
    ({"review_threshold": 1e9}, [], "stations[0].review_threshold is 1e+09", "at most"),
    (
        {"source": {"kind": "folder", "path": "in", "after": "archive"}},
        [],
        "stations[0].source.archive is missing",
        "name a folder",
    ),
    (
        {"source": {"kind": "files", "paths": ["in/*.png"]}},
        [],
        "stations[0].source.paths: ",
        "no file fits",
    ),
    ({}, [{"kind": "database"}], "sinks[1].url, url_env, url_file: exactly one", "where"),
    (
        {},
        [{"kind": "mqtt", "password_env": "NOT_SET_ANYWHERE"}],
        "sinks[1].password_env is NOT_SET_ANYWHERE, but nothing is there: ",
        "put it there",
    ),
    (
        {},
        [{"kind": "webhook", "url": "http://localhost", "secret_file": "none"}],
        "sinks[1].secret_file is ",
        "cannot be read (FileNotFoundError)",
    ),
    ({}, [{"kind": "database", "url": "mysql://host/x"}], "sinks[1]: the database is mysql", ""),
]
"""Values that are well formed, but cannot be honoured here."""


@pytest.mark.parametrize(("station", "sinks", "key", "advice"), WRONG, ids=[w[2] for w in WRONG])
def test_what_cannot_be_honoured_is_said_with_its_key(
    tmp_path, detector_file, station, sinks, key, advice
):
    given = configuration(tmp_path, detector_file, device="cpu")
    given["stations"][0].update(station)
    given["sinks"] += sinks
    with pytest.raises(InputError) as caught, Line(given):
        pass
    assert str(caught.value).startswith(f"the configuration: {key}")
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_lines_do_not_run_on_one_store(tmp_path, detector_file):
    with Line(configuration(tmp_path, detector_file)):
        other = Line(configuration(tmp_path, detector_file))
        with pytest.raises(InputError, match="another line runs on it"):
            other.start()
    with other:
        assert other.put(picture()).result(60).verdict == "ok"


def test_pictures_go_where_their_record_says(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file)
    kinds = ["image", "overlay", "map"]
    folder = tmp_path / "pictures"
    given["sinks"].append({"kind": "pictures", "folder": folder, "kinds": kinds, "keep": "all"})
    with Line(given) as line:
        line.put(picture(), "7").result(60)
    [record] = records_in(tmp_path)
    assert np.array_equal(np.array(Image.open(folder / record["image"])), picture())
    assert Image.open(folder / record["overlay"]).size == (24, 24)
    assert (folder / record["map"]).stat().st_size > 24 * 24 * 4


def test_while_the_store_has_no_room_nothing_is_acknowledged_and_then_all_is_kept(
    tmp_path, detector_file
):
    with Line(configuration(tmp_path, detector_file)) as line:
        line.put(picture(), "first").result(60)
        held = sqlite3.connect(tmp_path / "line.sqlite")
        full = threading.Event()
        usual = line._outbox.put

        def put(entries):
            from pyramidflow.line.outbox.outbox import OutboxFull

            if not full.is_set():
                raise OutboxFull("no room")
            usual(entries)

        line._stations["press"].keeper.put = put
        waiting = line.put(picture(), "second")
        time.sleep(1)
        assert not waiting.done()
        full.set()
        assert waiting.result(60).verdict == "ok"
        held.close()
    assert [record["identity"] for record in records_in(tmp_path)] == ["first", "second"]


def test_a_clock_that_jumps_changes_no_duration(tmp_path, detector_file, monkeypatch):
    from pyramidflow.line import frame

    jumps = iter([0, 3600, -7200])

    class Jumping(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(seconds=next(jumps, 0))

    monkeypatch.setattr(frame, "datetime", Jumping)
    with Line(configuration(tmp_path, detector_file)) as line:
        records = [line.put(picture(), str(index)).result(60) for index in range(3)]
    taken = [record.time for record in records]
    assert taken[1] - taken[0] > timedelta(minutes=50)
    assert taken[2] < taken[0] - timedelta(minutes=100)
    assert all(0 < record.times["total"] < 60_000 for record in records)
    assert [record["identity"] for record in records_in(tmp_path)] == ["0", "1", "2"]

"""The benchmark of the inspection of an archive, in small."""

import json

import pytest

from benchmarks.line import bulk
from benchmarks.line.parts import write_detector, write_pictures


def test_a_pictures_time_and_the_start_are_measured(tmp_path):
    pytest.importorskip("fsspec", reason="needs fsspec, of the extra bulk")
    write_detector(tmp_path / "part.safetensors", 32)
    write_pictures(tmp_path / "in", 32, "PNG", 10)
    found = bulk.seconds(str(tmp_path), workers=0)
    assert 0 < found["picture"] < found["start"]  # which has the planning


def test_the_scaling_is_that_of_the_rounds(tmp_path, monkeypatch):
    def call(name, folder, workers, threads):
        return {"picture": {0: 0.4, 1: 0.5, 2: 0.25}[workers], "start": 1.0 + workers}

    monkeypatch.setattr(bulk, "call", call)
    output = tmp_path / "bulk.md"
    bulk.main(["--small", "--rounds", "2", "--threads", "1", "--output", str(output)])
    assert "| 32×32 | 400.0 | 500.0 | 250.0 | 2.00 | 3.0 |" in output.read_text()
    [case] = json.loads(output.with_suffix(".json").read_text())["cases"].values()
    assert case["scaling"] == 2.0

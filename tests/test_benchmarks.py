"""The benchmarks' own arithmetic and refusals."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import peers


def test_peers_refuses_a_folder_without_the_released_code(tmp_path):
    (tmp_path / "model.py").touch()
    with pytest.raises(SystemExit, match=r"holds no autoFlow\.py: give a checkout") as refusal:
        peers.main(["--released", str(tmp_path)])
    assert "\n" not in str(refusal.value)


def test_peers_measures_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "baseline-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released", "reference", "default"]
    peers.main([*arguments, "--output", str(file)])
    released, reference, default = json.loads(file.with_suffix(".json").read_text())["cases"][
        "baseline-256"
    ]["rows"]
    assert "--released PATH" in released["missing"]
    for row in (reference, default):
        assert len(row["milliseconds"]) == 2
        assert 0 < row["start_memory"] <= row["peak_memory"]
    text = file.read_text()
    assert "| released | not measured: no checkout was given" in text
    assert f"| default | {default['version']} | " in text
    assert str(peers.ROOT) not in text


def test_peers_ratio_is_to_the_released_code():
    common = {"version": "1", "note": "", "start_memory": 1, "peak_memory": 2, "errors": {}}
    lines = peers.table(
        [
            {"name": "released", "median_milliseconds": 90.0, **common},
            {"name": "default", "median_milliseconds": 30.0, **common},
        ]
    )
    assert "| 30 | 3.00× | 2 | 1 |" in lines[-1]

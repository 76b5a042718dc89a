"""Benchmarks of the whole network: each in its smallest size."""

import json

import pytest
import torch

from benchmarks.model import first_result, gradients, memory, precision, tiles


def test_first_result_measures_new_processes(tmp_path):
    file = tmp_path / "first_result.md"
    first_result.main(["--small", "--rounds", "2", "--threads", "1", "--output", str(file)])
    [case] = json.loads(file.with_suffix(".json").read_text())["cases"].values()
    assert len(case["first_verdicts"]) == 2
    assert list(case["seconds"]) == list(first_result.STEPS)
    assert 0 < case["seconds"]["load"] < case["first_verdict"]
    assert "| baseline, 32×32 | " in file.read_text()


def test_gradients_deviation():
    exact = torch.tensor(2.0), {"a": torch.tensor([3.0, 4.0]), "b": torch.ones(1)}
    assert gradients.deviation(exact, exact) == {"loss": 0, "worst": 0, "median": 0}
    found = gradients.deviation(
        (torch.tensor(3.0), {"a": torch.zeros(2), "b": exact[1]["b"]}), exact
    )
    assert found == {"loss": 0.5, "worst": 1, "median": 0.5}


def test_gradients_are_those_of_float64(tmp_path):
    file = tmp_path / "gradients.md"
    gradients.main(["--small", "--output", str(file)])
    cases = json.loads(file.with_suffix(".json").read_text())["cases"]
    assert list(cases) == ["Baseline, 32×32, CVN", "Baseline, 32×32, SVN"]
    for name, rows in cases.items():
        assert f"## {name}" in file.read_text()
        assert len(rows) >= 2
        for found in rows.values():
            assert 0 < found["median"] <= found["worst"] < 1e-4
            assert found["loss"] < 1e-5


def test_precision_deviation():
    expected = torch.tensor([[3.0, 4.0]])
    assert precision.deviation(expected, expected) == {"largest": 0, "norm": 0, "score": 0}
    found = precision.deviation(torch.tensor([[3.0, 3.0]]), expected)
    assert found == pytest.approx({"largest": 1 / 4, "norm": 1 / 5, "score": 1 / 4})


def test_precision_compares_both(tmp_path):
    file = tmp_path / "precision.md"
    precision.main(["--small", "--rounds", "2", "--threads", "1", "--output", str(file)])
    [case] = json.loads(file.with_suffix(".json").read_text())["cases"].values()
    if "missing" in case:
        assert f"not measured: {case['missing']}" in file.read_text()
        return
    deviations = case["deviations"]
    assert 0 < deviations["float32 to plain PyTorch"]["largest"] < 1e-5
    assert 1e-5 < deviations["bfloat16 to float32"]["largest"] < 0.1
    assert "| baseline, 32×32 | bfloat16 to float32 | " in file.read_text()


def test_tiles_compares_both_ways(tmp_path):
    file = tmp_path / "tiles.md"
    arguments = ["--size", "64", "--threads", "1", "--output", str(file)]
    tiles.main(arguments)
    text = file.read_text()
    assert "| within the budget | " in text
    assert "| without one | " in text
    assert "Relative difference of the two maps: 0.0e+00." in text


def test_memory_is_measured_beside_plain(tmp_path):
    file = tmp_path / "memory.md"
    memory.main(["--small", "--threads", "1", "--steps", "1", "--output", str(file)])
    rows = json.loads(file.with_suffix(".json").read_text())["cases"]["tiny"]
    assert [(row["stacks"], row["mode"]) for row in rows] == [
        (stacks, mode) for stacks in (1, 2) for mode in ("reversible", "plain")
    ]
    for row in rows:
        assert 0 < row["start"] <= row["peak"]
        assert row["seconds"] > 0
    assert "| plain | 2 | " in file.read_text()


def test_what_would_not_fit_is_not_tried(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    row = memory.measure(memory.Point(64, "plain"), "cpu", 1, 1)
    assert "GB are needed, 1.0 GB are free" in row["missing"]
    assert "not measured" in memory.table([row])[-1]

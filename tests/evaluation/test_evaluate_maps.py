"""All metrics of a set of maps: each by its own function, what is undefined, time and memory."""

from __future__ import annotations

import math
import time
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as sk

from pyramidflow.errors import InputError
from pyramidflow.evaluation.metrics import (
    Metrics,
    evaluate_maps,
    f1_max,
)
from tests.support.slow_metrics import (
    slow_area,
    slow_f1_max,
    slow_pro,
)


def drawn_set(seed, sizes):
    """Float maps with many ties; every third image is good."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index, size in enumerate(sizes):
        mask = np.zeros(size, dtype=bool)
        if index % 3:
            mask[2:5, 1:9] = True
            mask[5 + index % 2, 9:12] = True
        maps.append((rng.normal(0, 4, size) + 4 * mask).round().astype(np.float32))
        masks.append(mask)
    return maps, masks, np.array([m.max() for m in maps]), np.arange(len(sizes)) % 3 != 0


class TestEvaluateMaps:
    def test_every_name_holds_its_own_metric(self):
        maps, masks, scores, labels = drawn_set(1, [(16, 20)] * 9)
        maps, masks = np.stack(maps), np.stack(masks)
        expected = {
            "pixel_auroc": sk.roc_auc_score(masks.ravel(), maps.ravel()),
            "image_auroc": sk.roc_auc_score(labels, scores),
            "aupro@0.05": slow_area(slow_pro(maps, masks), Fraction(1, 20)),
            "aupro@0.3": slow_area(slow_pro(maps, masks), Fraction(3, 10)),
            "aupro@1.0": slow_area(slow_pro(maps, masks), Fraction(1)),
            "pixel_f1_max": slow_f1_max(maps, masks)[0],
            "image_f1_max": slow_f1_max(scores, labels)[0],
            "pixel_ap": sk.average_precision_score(masks.ravel(), maps.ravel()),
            "image_ap": sk.average_precision_score(labels, scores),
        }
        assert len(set(expected.values())) == len(expected)
        result = evaluate_maps(maps, masks, scores, labels).as_dict()
        assert list(result) == list(expected)
        assert result == pytest.approx(expected, abs=1e-9)

    def test_lists_of_differing_sizes(self):
        maps, masks, scores, labels = drawn_set(2, [(8, 12), (9, 30), (20, 13), (8, 12), (7, 12)])
        result = evaluate_maps(maps, masks, scores, labels)
        pixels = np.concatenate([m.ravel() for m in maps])
        truth = np.concatenate([m.ravel() for m in masks])
        assert result.pixel_auroc == pytest.approx(sk.roc_auc_score(truth, pixels), abs=1e-12)
        expected = slow_area(slow_pro(maps, masks), Fraction(3, 10))
        assert result.aupro_03 == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("rise", [np.exp, np.cbrt, lambda v: 3 * v - 7])
    def test_a_rising_transform_of_the_scores_changes_nothing(self, rise):
        maps, masks, scores, labels = drawn_set(3, [(16, 20)] * 6)
        risen = [rise(m.astype(np.float64)) for m in maps]
        assert evaluate_maps(risen, masks, rise(scores), labels) == evaluate_maps(
            maps, masks, scores, labels
        )
        best, threshold = f1_max(np.stack(maps), np.stack(masks))
        expected = (best, pytest.approx(rise(threshold), rel=1e-12))
        assert f1_max(np.stack(risen), np.stack(masks)) == expected

    def test_without_masks_only_image_metrics_are_defined(self):
        maps, masks, scores, labels = drawn_set(4, [(16, 20)] * 6)
        with_masks = evaluate_maps(maps, masks, scores, labels).as_dict()
        without = evaluate_maps(maps, None, scores, labels).as_dict()
        for name, value in without.items():
            if name.startswith("image_"):
                assert value == with_masks[name]
            else:
                assert math.isnan(value)

    def test_a_defective_image_without_mask_is_left_out_of_the_pixel_metrics(self):
        maps, masks, scores, labels = drawn_set(6, [(16, 20)] * 6)
        kept = [0, 1, 3, 4, 5]
        partial = evaluate_maps(maps, [*masks[:2], None, *masks[3:]], scores, labels).as_dict()
        fewer = evaluate_maps(
            [maps[i] for i in kept], [masks[i] for i in kept], scores[kept], labels[kept]
        ).as_dict()
        whole = evaluate_maps(maps, masks, scores, labels).as_dict()
        for name, value in partial.items():
            assert value == (whole if name.startswith("image_") else fewer)[name]
        assert partial["pixel_auroc"] != whole["pixel_auroc"]

    def test_a_good_image_without_mask_is_normal_everywhere(self):
        maps, masks, scores, labels = drawn_set(7, [(16, 20)] * 6)
        absent = [None if not label else mask for mask, label in zip(masks, labels, strict=True)]
        assert sum(mask is None for mask in absent) == 2
        expected = evaluate_maps(maps, masks, scores, labels)
        assert evaluate_maps(maps, absent, scores, labels) == expected

    def test_labels_say_which_images_are_defective_not_masks(self):
        maps, masks, scores, labels = drawn_set(8, [(16, 20)] * 6)
        masks[1] = np.zeros_like(masks[1])
        result = evaluate_maps(maps, masks, scores, labels)
        assert result.image_auroc == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
        assert result.image_auroc != sk.roc_auc_score([m.any() for m in masks], scores)

    def test_a_set_without_defects_has_no_metric(self):
        maps, _, scores, _ = drawn_set(9, [(16, 20)] * 3)
        empty = [np.zeros_like(m, dtype=bool) for m in maps]
        result = evaluate_maps(maps, empty, scores, np.zeros(3, dtype=bool))
        assert isinstance(result, Metrics)
        assert np.isnan(list(result.as_dict().values())).all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"image_scores": np.arange(2.0)}, r"scores has shape \(2,\) and labels \(3,\)"),
            (
                {"image_scores": np.arange(2.0), "image_labels": np.array([0, 1])},
                r"image_scores has shape \(2,\), but there are 3 maps",
            ),
            ({"image_scores": np.array([1, np.nan, 2])}, "scores holds NaN"),
            ({"image_labels": np.array([0, 2, 1])}, "labels holds values other than"),
            ({"masks": [None, None]}, "3 maps and 2 masks"),
            ({"masks": np.zeros((3, 4, 4), dtype=bool)}, "map 0 has shape"),
            ({"maps": np.full((3, 16, 20), np.nan)}, "map 0 holds NaN"),
        ],
        ids=["labels", "scores", "nan score", "label 2", "count", "shape", "nan map"],
    )
    def test_refuses(self, change, message):
        maps, masks, scores, labels = drawn_set(10, [(16, 20)] * 3)
        given = {"maps": maps, "masks": masks, "image_scores": scores, "image_labels": labels}
        with pytest.raises(InputError, match=message):
            evaluate_maps(**given | change)


def large_set(count, side):
    rng = np.random.default_rng(11)
    maps = rng.standard_normal((count, side, side), dtype=np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for mask in masks[: count * 3 // 4]:
        for top, left in rng.integers(0, side * 3 // 4, (3, 2)):
            mask[top : top + side // 5, left : left + side // 5] = True
    maps += masks
    return maps, masks, maps.max(axis=(1, 2)), masks.any(axis=(1, 2))


def test_five_hundred_maps_take_less_than_ten_seconds():
    arguments = large_set(500, 256)
    start = time.perf_counter()
    evaluate_maps(*arguments)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("defective_images", [2, 30])
def test_memory_is_what_the_docstring_says(defective_images):
    arguments = large_set(40, 256)
    arguments[1][defective_images:] = False
    evaluate_maps(*arguments)
    tracemalloc.start()
    evaluate_maps(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    defective = int(arguments[1].sum())
    assert peak <= 8 * (arguments[1].size - defective) + 120 * defective

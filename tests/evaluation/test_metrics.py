"""Metrics against closed forms, hand-worked examples, exact fractions and scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pyramidflow.errors import InputError
from pyramidflow.evaluation.metrics import (
    aupro,
    auroc,
    average_precision,
    f1_max,
    pro_curve,
    roc_curve,
    thin_curve,
)
from tests.support.slow_metrics import (
    slow_area,
    slow_average_precision,
    slow_f1_max,
    slow_pro,
    slow_roc,
)


def distance_to_polyline(px, py, x, y):
    """Largest distance of the points [P] from the line through the corners [K]."""
    dx, dy = np.diff(x), np.diff(y)
    along = (px[:, None] - x[:-1]) * dx + (py[:, None] - y[:-1]) * dy  # [P, K - 1]
    along = np.clip(along / np.maximum(dx**2 + dy**2, 1e-300), 0, 1)
    gap = np.hypot(x[:-1] + along * dx - px[:, None], y[:-1] + along * dy - py[:, None])
    return gap.min(axis=1).max()


def assert_same_curve(curve, points):
    x, y = curve
    expected = np.array(points, dtype=np.float64)
    assert distance_to_polyline(expected[:, 0], expected[:, 1], x, y) <= 1e-12
    nearest = np.hypot(x[:, None] - expected[:, 0], y[:, None] - expected[:, 1]).min(axis=1)
    assert nearest.max() <= 1e-12


SCORES = np.array([4.0, 3.0, 3.0, 2.0, 1.0, 1.0])
LABELS = np.array([1, 1, 0, 0, 1, 0], dtype=bool)

# Regions of 1 and 4 pixels, 5 normal pixels.
ROW_MAP = np.array([[[9, 7, 5, 5, 1, 1, 5, 0, 0, 0]]], dtype=np.float32)
ROW_MASK = np.array([[[1, 0, 1, 1, 1, 1, 0, 0, 0, 0]]], dtype=bool)


@st.composite
def tied_scores(draw):
    shape = draw(st.sampled_from([(2,), (7,), (3, 5), (2, 3, 4)]))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.integers(-2, 3)))
    labels = draw(hnp.arrays(np.bool_, shape))
    labels.ravel()[:2] = [True, False]
    return scores, labels


@st.composite
def tied_images(draw):
    maps, masks = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 6)))
        maps.append(draw(hnp.arrays(np.float32, shape, elements=st.integers(0, 4))))
        masks.append(draw(hnp.arrays(np.bool_, shape)))
    masks[0].ravel()[:2] = [True, False]
    return maps, masks


class TestScores:
    @pytest.mark.parametrize(
        ("scores", "area", "precision", "f1", "threshold"),
        [
            ([0, 1, 2, 3], 1.0, 1.0, 1.0, 2.0),
            ([3, 2, 1, 0], 0.0, (1 / 3 + 2 / 4) / 2, 2 / 3, 0.0),
            ([7, 7, 7, 7], 0.5, 0.5, 2 / 3, 7.0),
            ([-np.inf, 0, 0, np.inf], 0.875, (1 + 2 / 3) / 2, 4 / 5, 0.0),
        ],
        ids=["perfect", "inverted", "constant", "infinite"],
    )
    def test_closed_forms(self, scores, area, precision, f1, threshold):
        scores, labels = np.array(scores, dtype=np.float64), np.array([0, 0, 1, 1])
        assert auroc(scores, labels) == pytest.approx(area, abs=1e-15)
        assert average_precision(scores, labels) == pytest.approx(precision, abs=1e-15)
        assert f1_max(scores, labels) == pytest.approx((f1, threshold), abs=1e-15)

    def test_example_worked_by_hand(self):
        assert auroc(SCORES, LABELS) == pytest.approx((3 + 2.5 + 0.5) / 9, abs=1e-15)
        expected = (1 + 2 / 3 + 3 / 6) / 3
        assert average_precision(SCORES, LABELS) == pytest.approx(expected, abs=1e-15)

    def test_of_two_thresholds_with_the_best_f1_the_higher_is_returned(self):
        assert f1_max(SCORES, LABELS) == pytest.approx((4 / 6, 3.0), abs=1e-15)

    def test_roc_corners_worked_by_hand(self):
        fpr, tpr = roc_curve(SCORES, LABELS)
        np.testing.assert_allclose(fpr, [0, 0, 1 / 3, 2 / 3, 1], atol=1e-15)
        np.testing.assert_allclose(tpr, [0, 1 / 3, 2 / 3, 2 / 3, 1], atol=1e-15)

    @settings(max_examples=200, deadline=None)
    @given(tied_scores())
    def test_equals_a_loop_over_thresholds(self, drawn):
        scores, labels = drawn
        points = slow_roc(scores, labels)
        assert auroc(scores, labels) == pytest.approx(slow_area(points, 1), abs=1e-9)
        assert_same_curve(roc_curve(scores, labels), points)
        expected = slow_average_precision(scores, labels)
        assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-9)
        assert f1_max(scores, labels) == pytest.approx(slow_f1_max(scores, labels), abs=1e-9)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
    def test_agrees_with_scikit_learn(self, dtype):
        rng = np.random.default_rng(3)
        labels = rng.random((50, 40)) < 0.1
        scores = (rng.normal(40, 8, labels.shape) + 10 * labels).clip(0, 255).astype(dtype)
        kept = scores.copy()
        flat, truth = scores.ravel().astype(np.float64), labels.ravel()
        assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(truth, flat), abs=1e-12)
        expected = sk.average_precision_score(truth, flat)
        assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)
        best, threshold = f1_max(scores, labels)
        assert best == pytest.approx(sk.f1_score(truth, flat >= threshold), abs=1e-12)
        precision, recall, _ = sk.precision_recall_curve(truth, flat)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert best == pytest.approx(f1.max(), abs=1e-12)
        np.testing.assert_array_equal(scores, kept)

    def test_scores_that_float32_cannot_tell_apart_are_not_tied(self):
        rank = np.array([3, 0, 5, 2, 1, 4])
        scores, labels = 1 + 1e-12 * rank, rank % 2 == 1
        assert auroc(scores, labels) == pytest.approx((1 + 2 + 3) / 9, abs=1e-15)
        expected = (1 + 2 / 3 + 3 / 5) / 3
        assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-15)

    @pytest.mark.parametrize("label", [False, True])
    def test_undefined_with_one_class(self, label):
        labels = np.full(6, label)
        assert math.isnan(auroc(SCORES, labels))
        assert math.isnan(average_precision(SCORES, labels))
        assert np.isnan(f1_max(SCORES, labels)).all()
        assert [len(axis) for axis in roc_curve(SCORES, labels)] == [0, 0]

    @pytest.mark.parametrize("function", [auroc, average_precision, f1_max, roc_curve])
    @pytest.mark.parametrize(
        ("scores", "labels", "message"),
        [
            (SCORES[:5], LABELS, r"scores has shape \(5,\) and labels \(6,\)"),
            (SCORES.reshape(2, 3), LABELS.reshape(3, 2), r"\(2, 3\) and labels \(3, 2\)"),
            (np.where(SCORES == 2, np.nan, SCORES), LABELS, "scores holds NaN"),
            (SCORES.tolist(), LABELS, "scores is a list"),
            (SCORES.astype(complex), LABELS, "scores is an array of complex128"),
            (SCORES, LABELS * 255, "labels holds values other than 0 and 1"),
            (SCORES, LABELS * np.nan, "labels holds values other than 0 and 1"),
            (SCORES, LABELS.astype(str), "labels is an array of <U5"),
        ],
        ids=["length", "shape", "nan", "list", "complex", "255", "nan label", "text"],
    )
    def test_refuses(self, function, scores, labels, message):
        with pytest.raises(InputError, match=message):
            function(scores, labels)


class TestRegions:
    def test_perfect_inverted_constant(self):
        score = ROW_MASK.astype(np.float32)
        for max_fpr in (0.05, 0.3, 1.0):
            assert aupro(score, ROW_MASK, max_fpr) == pytest.approx(1.0, abs=1e-15)
            assert aupro(-score, ROW_MASK, max_fpr) == pytest.approx(0.0, abs=1e-15)
            constant = aupro(np.zeros_like(score), ROW_MASK, max_fpr)
            assert constant == pytest.approx(max_fpr / 2, abs=1e-15)
        fpr, pro = pro_curve(np.zeros_like(score), ROW_MASK)
        assert (fpr.tolist(), pro.tolist()) == ([0, 1], [0, 1])

    def test_corners_worked_by_hand(self):
        fpr, pro = pro_curve(ROW_MAP, ROW_MASK)
        np.testing.assert_allclose(fpr, [0, 0, 0.2, 0.4, 0.4, 1], atol=1e-15)
        np.testing.assert_allclose(pro, [0, 0.5, 0.5, 0.75, 1, 1], atol=1e-15)

    @pytest.mark.parametrize(
        ("max_fpr", "area"),
        [
            (0.1, 0.05),
            (0.2, 0.1),
            (0.3, 0.1 + 0.1 * (0.5 + 0.625) / 2),
            (0.4, 0.1 + 0.2 * (0.5 + 0.75) / 2),
            (0.5, 0.225 + 0.1),
            (1.0, 0.225 + 0.6),
        ],
    )
    def test_area_is_cut_by_linear_interpolation(self, max_fpr, area):
        assert aupro(ROW_MAP, ROW_MASK, max_fpr) == pytest.approx(area / max_fpr, abs=1e-14)

    def test_small_regions_count_as_much_as_large_ones(self):
        assert auroc(ROW_MAP, ROW_MASK) == pytest.approx(0.72, abs=1e-14)
        assert aupro(ROW_MAP, ROW_MASK, 1.0) == pytest.approx(0.825, abs=1e-14)

    def test_pixels_that_touch_at_a_corner_are_one_region(self):
        mask = np.array([[[1, 0, 0, 1], [0, 1, 0, 0]]], dtype=bool)
        score = np.array([[[1, 0, 0, 9], [0, 1, 0, 0]]], dtype=np.float32)
        assert pro_curve(score, mask)[1].tolist() == [0, 1 / 2, 1, 1]

    def test_regions_of_two_images_stay_apart(self):
        mask = np.ones((2, 1, 2), dtype=bool)
        mask[1, 0, 1] = False
        score = np.array([[[0, 0]], [[9, -1]]], dtype=np.float32)
        assert pro_curve(score, mask)[1].tolist() == [0, 1 / 2, 1, 1]

    def test_normal_pixels_of_good_images_count(self):
        score = np.concatenate([ROW_MAP, np.full_like(ROW_MAP, 10)])
        mask = np.concatenate([ROW_MASK, np.zeros_like(ROW_MASK)])
        fpr, pro = pro_curve(score, mask)
        np.testing.assert_allclose(fpr, [0, 10 / 15, 10 / 15, 11 / 15, 12 / 15, 12 / 15, 1])
        np.testing.assert_allclose(pro, [0, 0, 0.5, 0.5, 0.75, 1, 1], atol=1e-15)

    @settings(max_examples=200, deadline=None)
    @given(tied_images())
    def test_equals_a_loop_over_thresholds_and_regions(self, drawn):
        maps, masks = drawn
        points = slow_pro(maps, masks)
        assert_same_curve(pro_curve(maps, masks), points)
        for max_fpr in (Fraction(1, 7), Fraction(3, 10), Fraction(1)):
            expected = slow_area(points, max_fpr)
            assert aupro(maps, masks, float(max_fpr)) == pytest.approx(expected, abs=1e-9)

    def test_undefined_without_region_or_without_normal_pixel(self):
        for mask in (np.zeros_like(ROW_MASK), np.ones_like(ROW_MASK)):
            assert math.isnan(aupro(ROW_MAP, mask, 0.3))
            assert [len(axis) for axis in pro_curve(ROW_MAP, mask)] == [0, 0]

    @pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.01, math.nan])
    def test_refuses_a_limit_outside_the_unit_interval(self, max_fpr):
        with pytest.raises(InputError, match="max_fpr is"):
            aupro(ROW_MAP, ROW_MASK, max_fpr)

    @pytest.mark.parametrize(
        ("maps", "masks", "message"),
        [
            (ROW_MAP, np.concatenate([ROW_MASK, ROW_MASK]), "1 maps and 2 masks"),
            (ROW_MAP, ROW_MASK[:, :, 1:], r"map 0 has shape \(1, 10\) and its mask \(1, 9\)"),
            (ROW_MAP[0], ROW_MASK[0], r"map 0 has shape \(10,\)"),
            (ROW_MAP[None], ROW_MASK[None], r"map 0 has shape \(1, 1, 10\)"),
            (np.where(ROW_MAP == 7, np.nan, ROW_MAP), ROW_MASK, "map 0 holds NaN"),
            (ROW_MAP, ROW_MASK * 255, "mask 0 holds values other than 0 and 1"),
            ([ROW_MAP[0], [[1.0]]], [ROW_MASK[0], ROW_MASK[0]], "map 1 is a list"),
            ([ROW_MAP[0]], [None], "mask 0 is a NoneType"),
        ],
        ids=["count", "shape", "no batch", "channel", "nan", "255", "list", "none"],
    )
    def test_refuses(self, maps, masks, message):
        with pytest.raises(InputError, match=message):
            pro_curve(maps, masks)


class TestThinCurve:
    @pytest.mark.parametrize("points", [2, 3, 64, 512])
    def test_stays_within_one_step_of_the_curve(self, points):
        x = np.concatenate([np.linspace(0, 1e-3, 2960), np.linspace(2e-3, 1, 40)])
        y = np.sqrt(x)
        thin_x, thin_y = thin_curve(x, y, points)
        assert 2 <= len(thin_x) == len(thin_y) <= points
        assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
        assert np.isin(thin_x + 1j * thin_y, x + 1j * y).all()
        step = (np.ptp(x) + np.ptp(y)) / (points - 1)
        gap = np.hypot(np.subtract.outer(x, thin_x), np.subtract.outer(y, thin_y)).min(axis=1)
        assert gap.max() <= step * (1 + 1e-9)

    def test_leaves_a_short_curve_alone(self):
        x, y = np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** 2
        thin_x, thin_y = thin_curve(x, y, 9)
        np.testing.assert_array_equal(thin_x, x)
        np.testing.assert_array_equal(thin_y, y)

    def test_refuses(self):
        with pytest.raises(InputError, match="x has shape"):
            thin_curve(np.zeros(4), np.zeros(5))
        with pytest.raises(InputError, match="points is 1"):
            thin_curve(np.zeros(4), np.zeros(4), 1)

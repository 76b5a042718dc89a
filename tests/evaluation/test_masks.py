"""Masks: shares of regions, and a reduction that loses no defect."""

from __future__ import annotations

from collections import Counter

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow.evaluation.masks import reduce_mask, region_shares
from tests.support.slow_metrics import slow_regions


def nearest(mask, size):
    """The pixel under each centre, one at a time."""
    height, width = mask.shape
    return np.array(
        [
            [
                mask[(2 * i + 1) * height // (2 * size[0]), (2 * j + 1) * width // (2 * size[1])]
                for j in range(size[1])
            ]
            for i in range(size[0])
        ]
    )


def slow_reduction(mask, size):
    """Region by region, pixel by pixel; the defects that the nearest pixels lose are counted."""
    height, width = mask.shape
    reduced, lost = nearest(mask, size), 0
    for region in slow_regions(mask):
        alone = np.zeros_like(mask)
        alone[tuple(np.transpose(region))] = True
        if nearest(alone, size).any():
            continue
        lost += 1
        cells = Counter(
            (int((i + 0.5) * size[0] / height), int((j + 0.5) * size[1] / width)) for i, j in region
        )
        for cell, count in cells.items():
            if count > max(cells.values()) / 2:
                reduced[cell] = True
    return reduced, lost


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)), fill=st.just(False)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_reduction_equals_a_loop_over_regions(mask, size):
    found = reduce_mask(mask, size)
    expected, lost = slow_reduction(mask, size)
    np.testing.assert_array_equal(found.mask, expected)
    assert found.mask.shape == size
    assert (found.defects, found.small_defects) == (len(slow_regions(mask)), lost)


def test_specks_between_the_working_pixels_are_kept_and_counted():
    rng = np.random.default_rng(0)
    lost = 0
    for _ in range(200):
        side = int(rng.integers(1, 4))
        top, left = rng.integers(0, 1024 - side, 2)
        mask = np.zeros((1024, 1024), bool)
        mask[top : top + side, left : left + side] = True
        found = reduce_mask(mask, (128, 128))
        assert found.mask.any()
        assert np.abs(np.argwhere(found.mask) - (top // 8, left // 8)).max() <= 1
        assert (found.defects, found.small_defects) == (1, int(not nearest_any(mask, 128)))
        lost += found.small_defects
    assert lost > 100  # by nearest neighbour alone most of them would be gone


def nearest_any(mask, size):
    step = mask.shape[0] // size
    return mask[step // 2 :: step, step // 2 :: step].any()


def test_a_thin_scratch_stays_a_scratch():
    mask = np.zeros((1024, 1024), bool)
    mask[101, 200:600] = True  # no centre of a 4×4 square lies in this row
    found = reduce_mask(mask, (256, 256))
    expected = np.zeros((256, 256), bool)
    expected[25, 50:150] = True
    np.testing.assert_array_equal(found.mask, expected)
    assert (found.defects, found.small_defects) == (1, 1)


def test_defects_that_survive_are_reduced_as_in_published_numbers():
    mask = np.zeros((300, 500), bool)
    mask[40:90, 60:333] = True
    mask[200:240, 10:20] = True
    found = reduce_mask(mask, (64, 64))
    np.testing.assert_array_equal(found.mask, nearest(mask, (64, 64)))
    assert (found.defects, found.small_defects) == (2, 0)


def test_a_mask_without_defects_stays_empty():
    found = reduce_mask(np.zeros((9, 7), bool), (4, 3))
    assert (found.mask.any(), found.defects, found.small_defects) == (False, 0, 0)


@pytest.mark.parametrize("size", [(4, 4), (8, 5), (13, 13)])
def test_an_enlarged_mask_loses_nothing(size):
    mask = np.eye(4, dtype=bool)
    assert reduce_mask(mask, size).small_defects == 0


def test_shares_of_each_region_add_up_to_one():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_allclose(region_shares(mask), [1 / 2, 1, 1 / 2, 1], atol=1e-15)
    assert region_shares(np.zeros((2, 2), bool)).shape == (0,)

"""Pixel metrics in one pass, against the exact functions on whole arrays."""

from __future__ import annotations

import math
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow.errors import InputError
from pyramidflow.evaluation import PixelStatistics, metrics
from pyramidflow.evaluation.masks import region_shares
from pyramidflow.evaluation.ranking import area, rank, without_repeats

NO_IMAGES = rank(np.empty(0), np.empty(0))


def bits_for(maps):
    """Significant bits that 2^22 counters leave to so many powers of two."""
    exponents = np.concatenate([np.frexp(m.ravel())[1] for m in maps])
    zeros = any((m == 0).any() for m in maps)
    powers = len(set(exponents[np.concatenate([m.ravel() for m in maps]) > 0])) + zeros
    return 19 - max(0, math.ceil(math.log2(powers / 16)))


def rounded_down(maps, bits):
    """To so many significant bits, by arithmetic in float64: m · 2^e with 0.5 ≤ m < 1."""
    halves = [np.frexp(m.astype(np.float64)) for m in maps]
    return [np.ldexp(np.floor(m * 2.0**bits), e - bits).astype(np.float32) for m, e in halves]


def counted(maps, masks):
    statistics = PixelStatistics()
    for map_, mask in zip(maps, masks, strict=True):
        statistics.add(map_, mask)
    assert statistics.significant_bits == bits_for(maps)
    return statistics.ranking()


def exact(maps, masks):
    values, truth = (
        np.concatenate([m.ravel() for m in maps]),
        np.concatenate([m.ravel() for m in masks]),
    )
    return {
        "pixel_auroc": metrics.auroc(values, truth),
        "aupro@0.05": metrics.aupro(maps, masks, 0.05),
        "aupro@0.3": metrics.aupro(maps, masks, 0.3),
        "aupro@1.0": metrics.aupro(maps, masks, 1.0),
        "pixel_f1_max": metrics.f1_max(values, truth)[0],
        "pixel_ap": metrics.average_precision(values, truth),
    }


def of_pixels(ranking):
    found = metrics.metrics_of(ranking, NO_IMAGES).as_dict()
    return {name: value for name, value in found.items() if not name.startswith("image")}


@st.composite
def images(draw):
    """Maps of differing sizes over the whole range of normal floats, with ties."""
    values = st.one_of(
        st.sampled_from(
            [0.0, -0.0, 1.0, 1 + 2**-19, 1 + 2**-18, 1 + 2**-14, 3.4028234663852886e38]
        ),
        st.floats(2.0**-126, 2.0**100, width=32),
    )
    maps, masks = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 5), st.integers(2, 6)))
        maps.append(draw(hnp.arrays(np.float32, shape, elements=values)))
        masks.append(draw(hnp.arrays(np.bool_, shape)))
    masks[0].ravel()[:2] = [True, False]
    return maps, masks


@settings(max_examples=200, deadline=None)
@given(images())
def test_metrics_are_those_of_maps_that_are_rounded_down(drawn):
    maps, masks = drawn
    ranking = counted(maps, masks)
    rounded = rounded_down(maps, bits_for(maps))
    assert of_pixels(ranking) == pytest.approx(exact(rounded, masks), abs=1e-12)
    values, truth = (np.concatenate([a.ravel() for a in x]) for x in (rounded, masks))
    assert ranking.f1_max() == pytest.approx(metrics.f1_max(values, truth), abs=1e-12)
    for height, curve in (
        (ranking.recall, metrics.roc_curve(values, truth)),
        (ranking.overlap, metrics.pro_curve(rounded, masks)),
    ):
        found = without_repeats(*ranking.corners(height))
        np.testing.assert_allclose(found, curve, atol=1e-12)


def drawn_maps(spread, seed=0):
    """Like a detector's: smooth, all values near 1 with this spread; defects are larger."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(12):
        mask = np.zeros((96, 128), bool)
        if index % 3:
            mask[10:20, 5:90] = True
            mask[40 + index : 43 + index, 60:64] = True
        noise = rng.standard_normal(mask.shape) + 1.5 * mask
        maps.append(np.exp(spread * noise).astype(np.float32))
        masks.append(mask)
    return maps, masks


def shares_by_value(maps, masks):
    """Per rounded value: shares of normal pixels, of defective pixels and of regions' weight."""
    values = np.concatenate([m.ravel() for m in rounded_down(maps, 19)])
    truth = np.concatenate([m.ravel() for m in masks])
    weights = np.zeros(len(values))
    weights[truth] = np.concatenate([region_shares(m) for m in masks])
    _, place = np.unique(values, return_inverse=True)
    sums = [np.bincount(place, w) for w in (~truth, truth, weights)]
    return [s / s.sum() for s in sums]


@pytest.mark.parametrize("spread", [0.5, 0.1, 1e-3, 1e-6])
def test_areas_are_off_by_at_most_the_pairs_that_share_a_counter(spread):
    maps, masks = drawn_maps(spread)
    found, true = of_pixels(counted(maps, masks)), exact(maps, masks)
    normal, defective, weight = shares_by_value(maps, masks)
    bounds = {
        "pixel_auroc": (normal * defective).sum() / 2,
        "aupro@1.0": (normal * weight).sum() / 2,
        "aupro@0.3": (normal * weight).sum() / 0.6,
        "aupro@0.05": (normal * weight).sum() / 0.1,
    }
    for name, bound in bounds.items():
        assert abs(found[name] - true[name]) <= bound + 1e-12
    if spread >= 0.1:  # as maps are: nothing of it is seen in four digits
        assert max(bounds[name] for name in bounds if name != "aupro@0.05") < 5e-5
        assert bounds["aupro@0.05"] < 1e-4  # as much, over a twentieth of the rates
        for name in (*bounds, "pixel_ap"):
            assert found[name] == pytest.approx(true[name], abs=5e-6), name


@pytest.mark.parametrize("spread", [0.5, 0.1, 1e-3, 1e-6])
def test_precision_and_f1_lie_between_the_best_and_the_worst_order_within_a_counter(spread):
    maps, masks = drawn_maps(spread)
    ranking, true = counted(maps, masks), exact(maps, masks)
    found = of_pixels(ranking)
    before = np.concatenate([[0], ranking.true_at[:-1]])
    steps = np.diff(ranking.recall, prepend=0.0)
    highest = (steps * ranking.true_at / (ranking.true_at + ranking.false_above)).sum()
    lowest = (steps * (before + 1) / (before + 1 + ranking.false_at)).sum()
    for value in (found["pixel_ap"], true["pixel_ap"]):
        assert lowest - 1e-12 <= value <= highest + 1e-12
    best = 2 * ranking.true_at / (ranking.true_at + ranking.false_above + ranking.true_at[-1])
    assert found["pixel_f1_max"] <= true["pixel_f1_max"] + 1e-12
    assert true["pixel_f1_max"] <= best.max() + 1e-12


def test_counters_are_shared_only_when_the_values_spread_far():
    rng = np.random.default_rng(2)
    maps = [np.exp2(rng.uniform(0, 8, (64, 64))).astype(np.float32) for _ in range(5)]
    masks = [rng.random((64, 64)) < 0.1 for _ in range(5)]
    for scale, bits in ((1, 19), (2.0**-20, 19), (2.0**40, 18), (2.0**-60, 18), (2.0**80, 17)):
        maps.append(maps[0] * np.float32(scale))
        masks.append(masks[1])
        ranking = counted(maps, masks)
        assert bits_for(maps) == bits
        assert of_pixels(ranking) == pytest.approx(
            exact(rounded_down(maps, bits), masks), abs=1e-12
        )


@pytest.mark.parametrize("defective", [True, False])
def test_undefined_with_one_class_or_without_any_map(defective):
    one_class = counted([np.ones((2, 3), np.float32)], [np.full((2, 3), defective)])
    for ranking in (one_class, PixelStatistics().ranking()):
        assert all(math.isnan(value) for value in of_pixels(ranking).values())
        assert math.isnan(area(*ranking.corners(ranking.overlap), 1.0))


@pytest.mark.parametrize(
    ("map_", "mask", "message"),
    [
        (np.ones((2, 2)), np.ones((2, 2), bool), "map of float64 and a mask of bool"),
        (np.ones((2, 2), np.float32), np.ones((2, 2), np.uint8), "mask of uint8"),
        (np.ones((2, 2), np.float32), np.ones((2, 3), bool), r"\[2, 2\] and a mask of \[2, 3\]"),
        (np.ones(2, np.float32), np.ones(2, bool), r"must be \[H, W\]"),
        (np.float32([[1, np.nan]]), np.ones((1, 2), bool), "negative or not finite"),
        (np.float32([[1, np.inf]]), np.ones((1, 2), bool), "negative or not finite"),
        (np.float32([[1, -1e-30]]), np.ones((1, 2), bool), "negative or not finite"),
    ],
)
def test_refuses_without_counting(map_, mask, message):
    statistics = PixelStatistics()
    with pytest.raises(InputError, match=message):
        statistics.add(map_, mask)
    statistics.add(np.float32([[0, 1]]), np.array([[False, True]]))
    ranking = statistics.ranking()
    assert (ranking.negatives, ranking.true_at.tolist()) == (1, [1])


def test_a_map_is_not_changed_and_may_be_a_view():
    maps, masks = drawn_maps(0.5)
    kept = maps[1].copy()
    whole = counted(maps, masks)
    turned = counted([m.T for m in maps], [m.T for m in masks])
    np.testing.assert_array_equal(maps[1], kept)
    assert of_pixels(whole) == pytest.approx(of_pixels(turned), abs=1e-12)


PEAK = """
import resource, sys
import numpy as np
from pyramidflow.evaluation import PixelStatistics
rng = np.random.default_rng(0)
statistics, mask = PixelStatistics(), np.zeros((512, 512), bool)
mask[100:150, 100:300] = True
mask[400:, :7] = True
maps = [np.exp(2 * rng.standard_normal((512, 512), np.float32) - 3) for _ in range(5)]
for i in range(int(sys.argv[1])):
    statistics.add(maps[i % 5].copy(), mask.copy())
statistics.ranking().auroc()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_memory_does_not_grow_with_the_maps():
    def peak(maps):
        run = subprocess.run(
            [sys.executable, "-c", PEAK, str(maps)], capture_output=True, text=True, check=True
        )
        return int(run.stdout) / 1024

    # 60 maps and their masks are 75 MiB.
    assert peak(70) - peak(10) < 10

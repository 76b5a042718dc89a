"""The score with a minimum area: against the definition, word by word, and inside an inspection."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from pyramidflow import Detector
from pyramidflow.detector.area import area_score
from pyramidflow.detector.counted_area import least_pixels
from pyramidflow.detector.findings import find_regions
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.spec import VerdictRule
from tests.support.tiny import TINY

SIDES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)
MAPS = st.one_of(
    arrays.arrays(np.float32, SIDES, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])),
    arrays.arrays(np.float32, SIDES, elements=st.floats(0, 100, width=32)),
)


def largest_part(above):
    """By walking from neighbour to neighbour."""
    left = {(int(y), int(x)) for y, x in np.argwhere(above)}
    largest = 0
    while left:
        waiting, area = [left.pop()], 0
        while waiting:
            y, x = waiting.pop()
            area += 1
            for near in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        largest = max(largest, area)
    return largest


def slow_score(anomaly_map, pixels):
    """Each value of the map in turn, from the highest down."""
    for value in np.unique(anomaly_map)[::-1]:
        if largest_part(anomaly_map >= value) >= pixels:
            return float(value)
    raise AssertionError("no part of the whole map is as large")


@given(MAPS, st.data())
@settings(max_examples=400, deadline=None)
def test_the_score_is_the_highest_value_of_a_part_of_that_area(anomaly_map, data):
    pixels = data.draw(st.integers(1, anomaly_map.size))
    assert area_score(anomaly_map, pixels) == slow_score(anomaly_map, pixels)


@given(MAPS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_score_exceeds_a_threshold_where_a_region_of_that_area_does(anomaly_map, data):
    pixels = data.draw(st.integers(1, anomaly_map.size))
    threshold = data.draw(st.sampled_from([*map(float, anomaly_map.ravel()), 0.25, 1.5]))
    regions = find_regions(anomaly_map, threshold, anomaly_map.shape, pixels)
    assert (area_score(anomaly_map, pixels) > threshold) == bool(regions)
    assert all(region.area >= pixels for region in regions)


@pytest.mark.parametrize("sigma", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("pixels", [1, 2, 9, 60, 700, 9216])
def test_large_maps_score_as_a_bisection_over_all_their_values(sigma, pixels):
    noise = np.random.default_rng(int(sigma)).normal(size=(96, 96))
    anomaly_map = np.abs(ndimage.gaussian_filter(noise, sigma)).astype(np.float32)
    values = np.unique(anomaly_map)
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        labels, _ = ndimage.label(anomaly_map >= values[middle], np.ones((3, 3)))
        is_reached = np.bincount(labels.ravel())[1:].max() >= pixels
        low, high = (middle, high) if is_reached else (low, middle)
    assert area_score(anomaly_map, pixels) == values[low]


def test_a_cone_scores_the_height_at_which_its_disc_has_the_area():
    y, x = np.mgrid[-40:41, -40:41]
    cone = np.float32(100) - np.hypot(x, y).astype(np.float32)
    for radius in (1, 5, 13, 40):
        disc = int((np.hypot(x, y) <= radius).sum())
        assert area_score(cone, disc) == 100 - radius


def test_more_pixels_than_there_are_is_refused():
    with pytest.raises(ValueError, match="of a map of 6"):
        area_score(np.zeros((2, 3), np.float32), 7)


@pytest.mark.parametrize(
    ("area", "image", "pixels"),
    [(0.0, (8, 8), 1), (4.0, (8, 8), 1), (4.1, (8, 8), 2), (8.0, (8, 8), 2), (3.0, (2, 2), 12)],
)
def test_the_area_is_that_of_the_image(area, image, pixels):
    assert least_pixels(area, image, (4, 4)) == pixels


@pytest.mark.parametrize("value", ["0.5mm2", "0.5mm²", " 0.5 MM2"])
def test_square_millimetres_need_a_scale(value):
    with pytest.raises(InputError, match="there is no scale"):
        VerdictRule(minimum_area=value)
    assert VerdictRule(minimum_area=value, scale=0.1).least_area == pytest.approx(50)


@pytest.mark.parametrize("value", [-1, "-1mm2", "many", "5 inches", True, None, float("nan"), 1e13])
def test_areas_that_are_none_are_refused(value):
    with pytest.raises(InputError, match=r"minimum_area is .*give pixels of the image"):
        VerdictRule(minimum_area=value, scale=1.0)


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)


def test_an_inspection_judges_by_the_area_of_its_image(detector, picture):
    _, plain = detector.session.working_maps([picture]), detector.inspect(picture)
    [found] = detector.session.working_maps([picture])
    for area in (0, 6.0, 6.1, 60, 400):
        with pytest.warns(CalibrationWarning, match="minimum_area") if area else nullcontext():
            detector.set_verdict(minimum_area=area, scale=0.5)
        detector.threshold = 1.0
        pixels = max(1, int(np.ceil(area / 6)))  # a pixel of the 16×16 map is 2×3 of the image
        inspection = detector.inspect(picture)
        assert inspection.score == slow_score(found.anomaly_map, pixels)
        assert np.array_equal(inspection.anomaly_map.max(), plain.anomaly_map.max())
        detector.threshold = np.nextafter(inspection.score, 0)
        above = detector.inspect(picture)
        assert (above.verdict, bool(above.regions)) == ("ng", True)
        assert all(region.area >= area for region in above.regions)
        assert all(r.area_mm2 == pytest.approx(r.area * 0.25) for r in above.regions)
        detector.threshold = inspection.score
        assert (detector.inspect(picture).verdict, detector.inspect(picture).regions) == ("ok", ())
        detector.calibrate([picture])


def test_an_area_that_no_part_can_have_is_refused(detector, picture):
    detector.threshold = None
    detector.set_verdict(minimum_area=32 * 48 + 1)
    with pytest.raises(InputError, match="every part would be ok"):
        detector.inspect(picture)
    detector.set_verdict(minimum_area=400, region_of_interest=["rect:0,0,0.2,1", "rect:0.8,0,1,1"])
    with pytest.raises(InputError, match="every part would be ok"):
        detector.inspect(picture)


@pytest.mark.parametrize("size", [(24, 24), (48, 72)])
def test_calibration_holds_for_the_score_with_an_area(detector, size):
    """Images of a size of their own: of the working size, the area would be another number."""
    rng = np.random.default_rng(4)
    good = [rng.integers(90, 160, (*size, 3)).astype(np.uint8) for _ in range(12)]
    detector.calibrate(good, 0.25, 0.5, minimum_area=20)
    assert detector.spec.rule.minimum_area == 20
    scores = sorted(found.score for found in detector.inspect(good))
    assert np.diff(scores).min() > 1.01e-4 * scores[-1]  # no two are taken for one
    assert detector.threshold == pytest.approx(scores[9], rel=1.01e-4)  # ⌈13 · 0.75⌉ = 10
    assert detector.review_threshold == pytest.approx(scores[6], rel=1.01e-4)
    verdicts = [found.verdict for found in detector.inspect(good)]
    assert [verdicts.count(v) for v in ("ok", "review", "ng")] == [7, 3, 2]


def test_a_training_calibrates_with_the_area_of_the_images(tiny_set):
    detector = Detector(16, **TINY, minimum_area=9.0)
    detector.fit(tiny_set, epochs=1, validation_share=0.25, show_progress=False)
    held_out = detector.calibration["images"]
    good = sorted((tiny_set / "train" / "good").iterdir())
    scores = [detector.inspect(path).score for path in good]
    assert held_out == 3
    assert detector.calibration["source"] == "held-out"
    assert any(detector.threshold == pytest.approx(score, rel=2e-4) for score in scores)


def test_the_file_keeps_area_and_scale(detector, picture, tmp_path):
    detector.calibrate([picture], minimum_area="2mm²", scale=0.5)
    detector.save(tmp_path / "area.safetensors")
    again = Detector.load(tmp_path / "area.safetensors")
    assert again.spec.rule == detector.spec.rule == VerdictRule(minimum_area="2mm2", scale=0.5)
    assert again.inspect(picture).as_dict() == detector.inspect(picture).as_dict()


def test_commands_take_area_and_scale(run, tiny_detector_file, tiny_set, tmp_path):
    model, good = tmp_path / "area.safetensors", tiny_set / "test" / "good"
    options = ("--minimum-area", "8px", "--scale", "0.25")
    code, _, err = run("calibrate", "--model", tiny_detector_file, "--output", model, *options)
    assert code == 2
    assert "nor --threshold is given, but the thresholds were made for scores with" in err
    assert not model.exists()
    code, _, err = run(
        "calibrate", good, "--model", tiny_detector_file, "--output", model, *options
    )
    assert code == 0, err
    code, _, err = run("calibrate", "--model", model, "--scale", "0.5")
    assert code == 0, err
    assert Detector.load(model).spec.rule == VerdictRule(minimum_area=8.0, scale=0.5)
    _, out, _ = run("info", model)
    assert "minimum area 8.0, scale 0.5" in out
    code, _, err = run("inspect", tiny_set / "test", "--model", model, "--output", tmp_path / "out")
    assert code == 0, err
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    regions = [region for line in lines for region in json.loads(line)["regions"]]
    assert regions
    assert all(region["area"] >= 8 for region in regions)
    assert all(r["area_mm2"] == pytest.approx(r["area"] / 4, abs=0.126) for r in regions)

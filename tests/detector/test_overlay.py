"""Overlays: what is drawn where, and in which colours."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from pyramidflow.detector.overlay import Marks, colour_bar, overlay
from pyramidflow.errors import InputError

GREY = np.full((40, 60, 3), 120, np.uint8)
BOX_GREEN = (57, 255, 90)
CONTOUR_CYAN = (0, 229, 255)


def flat_map(value: float) -> np.ndarray:
    return np.full(GREY.shape[:2], value, np.float32)


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == np.array(colour, np.uint8)).all(axis=2)


def test_zero_map_returns_the_image_and_leaves_the_input_alone():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    before = image.copy()
    out = overlay(image, flat_map(0.0), 1.0, Marks(0.5))
    np.testing.assert_array_equal(out, before)
    out[:] = 0
    np.testing.assert_array_equal(image, before)


def test_larger_values_are_hotter_up_to_the_scale():
    ramp = np.tile(np.linspace(0, 2, 60, dtype=np.float32), (40, 1))
    row = overlay(GREY, ramp, 1.0)[0].astype(int)  # [60, 3]
    warmth = row[:, 0] - row[:, 2]
    inside = ramp[0] <= 1
    assert (np.diff(row[inside, 0]) >= 0).all()
    assert (np.diff(row[inside], axis=0) != 0).any(axis=1).all()
    assert warmth[inside][-1] > 60
    assert (row[~inside] == row[-1]).all()


def test_colour_scale_is_fixed_not_taken_from_the_image():
    quiet, loud = flat_map(0.1), flat_map(0.1)
    quiet[5, 5] = loud[5, 5] = 0.6
    loud[20:30, 20:30] = 5.0
    ours, theirs = (overlay(GREY, m, 1.0) for m in (quiet, loud))
    same = quiet == loud
    np.testing.assert_array_equal(ours[same], theirs[same])
    np.testing.assert_array_equal(
        overlay(GREY, flat_map(0.3), 1.0), overlay(GREY, flat_map(3.0), 10.0)
    )
    assert (overlay(GREY, flat_map(0.3), 1.0) != overlay(GREY, flat_map(0.3), 2.0)).any()


def test_every_value_at_every_level_is_that_of_the_formula():
    from matplotlib import colormaps

    levels = np.linspace(0, 1, 256, dtype=np.float32)
    image = np.tile(np.arange(256, dtype=np.uint8)[:, None], (256, 1, 3))  # [levels, values, 3]
    anomaly_map = np.repeat(levels[:, None], 256, axis=1)
    colour = np.asarray(colormaps["inferno"](0.3 + 0.7 * levels), np.float32)[:, None, :3] * 255
    opacity = (0.85 * levels)[:, None, None]
    expected = np.rint((1 - opacity) * image + opacity * colour)
    np.testing.assert_array_equal(overlay(image, anomaly_map, 1.0), expected)


def test_normal_part_stays_visible_under_the_hottest_colour():
    image = GREY.copy()
    image[:, 30:] = 200
    out = overlay(image, flat_map(9.0), 1.0).astype(int)
    assert (out[:, 30:].sum(axis=2).min() - out[:, :30].sum(axis=2).max()) > 20


def test_rows_are_drawn_one_like_the_other_in_little_memory():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1000, 800, 3), dtype=np.uint8)
    anomaly_map = rng.random((1000, 800), dtype=np.float32)
    rows = [overlay(image[y : y + 1], anomaly_map[y : y + 1], 1.0)[0] for y in range(1000)]
    tracemalloc.start()
    out = overlay(image, anomaly_map, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1000 * 800
    np.testing.assert_array_equal(out, rows)


def test_what_does_not_count_is_darker_in_as_little_memory():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1000, 800, 3), dtype=np.uint8)
    anomaly_map = np.zeros((1000, 800), np.float32)
    counted = np.arange(8)[:, None] + np.arange(8) > 9  # two thirds of it do not
    marks = Marks(0.5, counted=counted)
    overlay(image[:10], anomaly_map[:10], 1.0, marks)  # what is loaded once is not counted
    tracemalloc.start()
    out = overlay(image, anomaly_map, 1.0, marks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1000 * 800
    darker = ~np.kron(counted, np.ones((125, 100), bool))
    np.testing.assert_array_equal(out[darker], np.rint(0.6 * image[darker]))


def test_contour_is_the_inner_edge_of_the_region_above_the_threshold():
    anomaly = flat_map(0.5)  # equal to the threshold is not above it
    anomaly[10:20, 30:45] = 0.6
    expected = np.zeros(GREY.shape[:2], bool)
    expected[10:20, 30:45] = True
    expected[11:19, 31:44] = False
    edge = is_colour(overlay(GREY, anomaly, 1.0, Marks(0.5)), CONTOUR_CYAN)
    np.testing.assert_array_equal(edge, expected)
    assert not is_colour(overlay(GREY, anomaly, 1.0), CONTOUR_CYAN).any()


def test_box_is_a_frame_inside_its_half_open_bounds():
    out = overlay(GREY, flat_map(0.0), 1.0, Marks(boxes=[(4, 6, 14, 11)]))
    expected = np.zeros(GREY.shape[:2], bool)
    expected[6:11, 4:14] = True
    expected[7:10, 5:13] = False
    np.testing.assert_array_equal(is_colour(out, BOX_GREEN), expected)
    np.testing.assert_array_equal(out[~expected], GREY[~expected])


def test_boxes_at_and_past_the_edge_are_drawn_inside_the_image():
    out = overlay(
        GREY,
        flat_map(0.0),
        1.0,
        Marks(boxes=[(-5, 30, 8, 99), (50, -3, 60, 2), (70, 0, 80, 9)]),
    )
    expected = np.zeros(GREY.shape[:2], bool)
    expected[30:40, 0:8] = True
    expected[31:39, 1:7] = False
    expected[0:2, 50:60] = True
    np.testing.assert_array_equal(is_colour(out, BOX_GREEN), expected)


@pytest.mark.parametrize(("side", "width"), [(64, 1), (512, 2), (2048, 3)])
def test_frame_width_follows_the_image_size(side, width):
    image = np.zeros((side, side, 3), np.uint8)
    box = (5, 5, 45, 45)
    out = overlay(image, np.zeros((side, side), np.float32), 1.0, Marks(boxes=[box]))
    assert is_colour(out, BOX_GREEN)[25, :25].sum() == width


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((GREY, np.zeros((40, 61), np.float32), 1.0), r"\[40, 61\].*\[40, 60\]"),
        ((GREY[:, :, 0], np.zeros((40, 60), np.float32), 1.0), r"\[40, 60\]"),
        ((GREY.astype(np.float32), np.zeros((40, 60), np.float32), 1.0), "float32"),
        ((GREY, flat_map(np.nan), 1.0), "not finite"),
        ((GREY, flat_map(0.1), 0.0), "scale is 0.0"),
        ((GREY, flat_map(0.1), 1.0, Marks(boxes=[(9, 1, 9, 5)])), "empty"),
    ],
)
def test_overlay_refuses_what_does_not_fit(arguments, words):
    with pytest.raises(InputError, match=words):
        overlay(*arguments)


def test_colour_bar_shows_the_colours_of_the_overlay():
    bar = colour_bar(11, 3)
    assert bar.shape == (3, 11, 3)
    grey = np.full((40, 60, 3), 128, np.uint8)
    for column, value in enumerate(np.linspace(0, 1, 11)):
        expected = overlay(grey, flat_map(7.0 * value), 7.0)[0, 0]
        np.testing.assert_array_equal(bar[1, column], expected)


def test_importing_overlay_and_report_loads_no_plotting_library():
    code = (
        "import sys; import pyramidflow.detector.overlay, pyramidflow.evaluation.report; "
        "print([m for m in ('matplotlib', 'scipy', 'skimage', 'jinja2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

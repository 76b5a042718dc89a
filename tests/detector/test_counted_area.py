"""Areas of interest and of exclusion: as they are written, as masks, and in an inspection."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pyramidflow import Detector
from pyramidflow.detector.artifact import read_header
from pyramidflow.detector.counted_area import CountedArea, inside
from pyramidflow.detector.overlay import Marks, overlay
from pyramidflow.errors import InputError
from pyramidflow.spec import Spec, VerdictRule
from pyramidflow.spec.areas import Polygon, area_of, areas, areas_text
from tests.support.tiny import TINY

FRACTIONS = st.floats(0, 1)
CORNERS = st.lists(st.tuples(FRACTIONS, FRACTIONS), min_size=3, max_size=8)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def mask_of(size=(4, 8), image_size=(40, 80), masks=(), **rule):
    return CountedArea(VerdictRule(**rule), masks, size).of(image_size).mask


@given(st.tuples(FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS), SIZES)
@settings(max_examples=300, deadline=None)
def test_a_rectangle_holds_the_pixels_whose_centres_it_holds(sides, size):
    (left, right), (top, bottom) = sorted(sides[::2]), sorted(sides[1::2])
    if left == right or top == bottom:
        return
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5) / size[0]
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5) / size[1]
    expected = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    box = area_of(f"rect:{left!r},{top!r},{right!r},{bottom!r}")
    assert np.array_equal(inside(box, size), expected.numpy())
    turned = Polygon(box.corners[::-1], in_pixels=False)
    assert np.array_equal(inside(turned, size), expected.numpy())


def crossings(corners, x, y):
    """How often a ray to the left leaves or enters, one edge after the other."""
    count = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            count += x >= x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
    return count


@given(CORNERS, SIZES)
@settings(max_examples=200, deadline=None)
def test_a_polygon_holds_what_a_ray_leaves_oddly_often(corners, size):
    expected = [
        [crossings(corners, (j + 0.5) / size[1], (i + 0.5) / size[0]) % 2 for j in range(size[1])]
        for i in range(size[0])
    ]
    assert inside(Polygon(tuple(corners), in_pixels=False), size).astype(int).tolist() == expected


@pytest.mark.parametrize("corners", [((0, 0), (1, 0), (0, 1)), ((0.2, 0.1), (0.9, 0.5), (0.3, 1))])
def test_a_triangle_has_its_area(corners):
    (ax, ay), (bx, by), (cx, cy) = corners
    area = abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
    assert inside(Polygon(corners, in_pixels=False), (1000, 1000)).mean() == pytest.approx(
        area, 5e-3
    )


def test_pixels_are_those_of_the_image():
    fractions = mask_of(region_of_interest="polygon:0.25,0;1,0;1,0.5;0.25,0.5")
    pixels = VerdictRule(region_of_interest="rect:20,0,80,20px")
    assert np.array_equal(CountedArea(pixels, (), (4, 8)).of((40, 80)).mask, fractions)
    assert fractions.astype(int).tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]] * 2 + [[0] * 8] * 2
    twice = CountedArea(pixels, (), (4, 8)).of((80, 160)).mask
    assert twice.astype(int).tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]] + [[0] * 8] * 3
    with pytest.raises(InputError, match="holds no pixel of the anomaly map of an image of 9×9"):
        CountedArea(pixels, (), (4, 8)).of((9, 9))


def test_interests_come_together_and_exclusions_win():
    found = mask_of(
        region_of_interest=["rect:0,0,0.5,0.5", "rect:0.25,0.25,1,1"],
        exclude=["rect:0.4,0,0.8,1", "rect:0,0,0.1,0.1"],
    )
    expected = np.zeros((4, 8), bool)
    expected[:2, :4] = expected[1:, 2:] = True
    expected[:, 3:6] = False  # centres 0.4375 to 0.6875; 0.8125 is outside
    expected[:, 6] = [False, True, True, True]
    assert np.array_equal(found, expected)
    assert mask_of() is None


def test_masks_are_stretched_to_the_map():
    mask = torch.zeros((2, 2), dtype=torch.uint8)
    mask[0, 1] = 1
    found = mask_of(region_of_interest="mask:part.png", masks=(mask,))
    assert found.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2 + [[0] * 8] * 2
    left = mask_of(exclude="mask:part.png", masks=(mask,))
    assert np.array_equal(left, ~found)


@given(
    st.lists(
        st.one_of(
            st.builds(lambda c: ";".join(f"{x!r},{y!r}" for x, y in c), CORNERS).map(
                lambda text: f"polygon:{text}"
            ),
            st.integers(1, 999).map(lambda n: f"rect:0,{n},{n + 0.5},{n + 7}px"),
            st.sampled_from(["mask:a b.png", "mask:C:\\masks\\x.png", "mask:rect:1.png"]),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=100, deadline=None)
def test_areas_come_back_from_the_file_as_they_were_written(given_areas):
    spec = Spec.of({"region_of_interest": given_areas, "exclude": given_areas[:1]})
    stored = json.loads(json.dumps(spec.as_dict()))
    assert Spec.from_dict(stored) == spec
    assert areas(spec.rule.region_of_interest) == spec.rule.region_of_interest
    assert all(part in areas_text(spec.rule.region_of_interest) for part in spec.rule.exclude)


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.3, 0.4), "rect:0.1,0.2,0.3,0.4", "0.1,0.2,.3,0.4"])
def test_one_rectangle_in_fractions_stays_four_numbers(box):
    assert areas(box) == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("circle:1,2,3", "rect:LEFT"),
        ("rect:0,0,1", "4 values"),
        ("rect:0,0,2,1", "fractions"),
        ("rect:0,0,nan,1", "numbers are expected"),
        ("rect:5,0,5,1px", "fractions"),
        ("polygon:0,0;1,1", "3 to"),
        ("polygon:0,0;1,1;2,0", "a corner is"),
        ("polygon:0,0;1,1;0", "a corner is"),
        ("mask:", "a picture's file"),
        ("mask:a\nb.png", "a picture's file"),
        (["rect:0,0,1,1", 3], "numbers|4 values"),
        ((0, 0, 1, True), "numbers are expected"),
        (7, "a list is expected"),
    ],
)
def test_what_is_no_area_is_refused(value, words):
    for name in ("region_of_interest", "exclude"):
        with pytest.raises(InputError, match=f"{name} is .*({words})"):
            Spec.of({name: value})


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.fixture
def mask_file(tmp_path):
    """A ring, as a fixture around a part."""
    drawn = Image.new("L", (64, 64))
    ImageDraw.Draw(drawn).ellipse((8, 8, 56, 56), outline=255, width=12)
    drawn.save(tmp_path / "ring.png")
    return tmp_path / "ring.png"


@pytest.mark.parametrize("smoothing", [0.0, 1.5])
@pytest.mark.parametrize("unit", ["", "px"])
def test_an_inspection_counts_what_is_inside(uncalibrated, picture, smoothing, unit):
    """A polygon, in fractions and in pixels, against the map of the whole image."""
    side = 32 if unit else 1
    corners = np.array([(0.25, 0.0), (1.0, 0.0), (0.75, 1.0), (0.0, 0.75)])
    text = ";".join(f"{x * side:g},{y * side:g}" for x, y in corners)
    [whole] = uncalibrated.session.working_maps([picture])
    uncalibrated.set_verdict(region_of_interest=f"polygon:{text}{unit}", smoothing=smoothing)
    [found] = uncalibrated.session.working_maps([picture])
    counted = inside(Polygon(tuple(map(tuple, corners)), in_pixels=False), (16, 16))
    assert np.array_equal(found.counted, counted)
    assert (found.anomaly_map[~counted] == 0).all()
    if not smoothing:
        assert np.array_equal(found.anomaly_map, whole.anomaly_map * counted)
    assert found.score == found.anomaly_map.max()
    uncalibrated.set_verdict(region_of_interest=None)
    assert uncalibrated.session.working_maps([picture]).__next__().counted is None


def test_images_of_several_sizes_have_a_mask_each(uncalibrated):
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (64, 64), (16, 48)]
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    uncalibrated.set_verdict(exclude="rect:0,0,16,8px")
    counts = [(~m.counted).sum() for m in uncalibrated.session.working_maps(images)]
    assert counts == [8 * 4, 4 * 2, 5 * 8]  # columns times rows of the map


def test_a_detector_file_keeps_its_mask_pictures(uncalibrated, picture, mask_file, tmp_path):
    uncalibrated.set_verdict(region_of_interest=f"mask:{mask_file}")
    uncalibrated.threshold = 1e-3
    before = uncalibrated.inspect(picture)
    path = tmp_path / "ring.safetensors"
    uncalibrated.save(path)
    mask_file.unlink()
    again = Detector.load(path)
    assert again.inspect(picture).as_dict() == before.as_dict()
    again.threshold = None
    again.set_verdict(exclude="rect:0,0,1,0.5", region_of_interest=f"mask:{mask_file}")
    assert again.inspect(picture).counted[:8].sum() == 0
    assert read_header(path).spec.rule.masks == (str(mask_file),)
    with pytest.raises(InputError, match=r"other\.png"):
        again.set_verdict(exclude=f"mask:{tmp_path / 'other.png'}")


def test_a_mask_picture_is_read_anew_where_it_is_named(uncalibrated, picture, mask_file):
    uncalibrated.set_verdict(exclude=f"mask:{mask_file}")
    first = uncalibrated.inspect(picture).counted
    Image.new("L", (4, 4)).save(mask_file)
    uncalibrated.set_verdict(smoothing=1.0)
    assert np.array_equal(uncalibrated.inspect(picture).counted, first)
    with pytest.raises(InputError, match="is 0 everywhere"):
        uncalibrated.set_verdict(exclude=f"mask:{mask_file}")


def test_an_overlay_darkens_what_does_not_count_and_lines_what_does():
    grey = np.full((40, 40, 3), 100, np.uint8)
    counted = np.zeros((4, 4), bool)
    counted[1:3, 1:3] = True
    out = overlay(grey, np.zeros((40, 40), np.float32), 1.0, Marks(counted=counted))
    expected = np.full((40, 40, 3), 60)
    expected[10:30, 10:30] = 255
    expected[11:29, 11:29] = 100
    assert np.array_equal(out, expected)


def test_outlines_stay_in_the_regions_that_are_large_enough():
    anomaly_map = np.zeros((40, 40), np.float32)
    anomaly_map[5:15, 5:15] = anomaly_map[30:32, 30:32] = 1
    grey, box = np.full((40, 40, 3), 100, np.uint8), (5, 5, 15, 15)
    out = overlay(grey, anomaly_map, 2.0, Marks(0.5, [box], outlined=[box]))
    everywhere = overlay(grey, anomaly_map, 2.0, Marks(0.5, [box]))
    differing = np.argwhere((out != everywhere).any(-1))
    assert (differing.min(0).tolist(), differing.max(0).tolist()) == ([30, 30], [31, 31])


def test_nothing_left_to_inspect_is_said_before_a_training(tiny_set):
    detector = Detector(16, **TINY, exclude="rect:0,0,1,1")
    with pytest.raises(InputError, match="holds no pixel"):
        detector.fit(tiny_set, epochs=1000, show_progress=False)


def test_commands_take_areas(run, tiny_detector_file, tiny_set, mask_file, tmp_path):
    model, good = tmp_path / "areas.safetensors", tiny_set / "test" / "good"
    given_areas = (
        "--region-of-interest", "0.1", "0.1", "0.9", "0.9",
        "--region-of-interest", "polygon:0,0;1,0;0,1",
        "--exclude", f"mask:{mask_file}", "--exclude", "rect:0,0,3,3px",
    )  # fmt: skip
    code, _, err = run(
        "calibrate", good, "--model", tiny_detector_file, "--output", model, *given_areas
    )
    assert code == 0, err
    rule = Detector.load(model).spec.rule
    assert rule.region_of_interest == ("rect:0.1,0.1,0.9,0.9", "polygon:0,0;1,0;0,1")
    assert rule.exclude == (f"mask:{mask_file}", "rect:0,0,3,3px")
    _, out, _ = run("info", model)
    assert f"exclude mask:{mask_file} rect:0,0,3,3px" in out
    code, _, err = run("inspect", good, "--model", model, "--output", tmp_path / "out")
    assert code == 0, err
    code, _, err = run("calibrate", good, "--model", model, "--region-of-interest", "0", "0", "1")
    assert code == 2

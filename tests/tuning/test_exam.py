"""What settings are examined on: the verdict of the line, and defects that it looks for."""

import numpy as np
import pytest
from PIL import Image

from pyramidflow.data import Decoding
from pyramidflow.detector.counted_area import CountedArea
from pyramidflow.errors import InputError
from pyramidflow.spec import VerdictRule
from pyramidflow.tuning.criterion import Answers
from pyramidflow.tuning.defects import KINDS, draw_defect
from pyramidflow.tuning.exam import Exam
from pyramidflow.tuning.scene import Scene

AREAS = {"region_of_interest": "polygon:0,0;30,0;30,40;0,40px", "exclude": "rect:0,0,12,40px"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Good images of a size of their own, 40×60."""
    folder, rng = tmp_path_factory.mktemp("good"), np.random.default_rng(5)
    for number in range(4):
        ramp = np.linspace(60, 160, 60)[None, :, None] + rng.normal(0, 6, (40, 60, 3))
        Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


def answers_of(detector, pictures):
    rule, masks = detector.spec.rule, detector.masks
    return Exam(pictures, Decoding(), 0, rule, masks).taken_by(detector.session)


@pytest.mark.parametrize(
    "settings",
    [{}, {"minimum_area": 60}, AREAS, {**AREAS, "minimum_area": 60, "smoothing": 1.0}],
    ids=["plain", "area", "areas", "all"],
)
def test_scores_are_those_of_the_detector(uncalibrated, pictures, settings):
    uncalibrated.set_verdict(**settings)
    expected = [uncalibrated.inspect(path).score for path in pictures]
    assert answers_of(uncalibrated, pictures).good_scores.tolist() == expected


def test_a_mask_picture_counts_too(uncalibrated, pictures, tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "mask.png")
    uncalibrated.set_verdict(region_of_interest=f"mask:{tmp_path / 'mask.png'}")
    expected = [uncalibrated.inspect(path).score for path in pictures]
    assert answers_of(uncalibrated, pictures).good_scores.tolist() == expected


def test_pixels_that_do_not_count_are_not_measured(uncalibrated, pictures):
    """The good pixels of the copies and of the image, at the lowest threshold, are those inside."""
    whole = answers_of(uncalibrated, pictures)
    uncalibrated.set_verdict(**AREAS)
    found = answers_of(uncalibrated, pictures)
    share = (found.normal[:, -1] + found.found[:, -1]) / (whole.normal[:, -1] + whole.found[:, -1])
    np.testing.assert_allclose(share, (30 - 12) / 60, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_defects_lie_where_they_count_and_are_large_enough(kind):
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 150, (80, 100, 3)).astype(np.uint8)
    rule = VerdictRule(region_of_interest="rect:10,10,60,60px", minimum_area=30)
    area = CountedArea(rule, (), (80, 100)).of((80, 100)).mask
    for seed in range(12):
        drawn = draw_defect(
            Scene(pixels, area), Scene(pixels), kind, np.random.default_rng(seed), 30
        )
        assert drawn.mask.sum() >= 30
        assert drawn.mask[area].sum() > 0.9 * drawn.mask.sum()


def test_without_areas_the_same_defects_are_drawn_as_ever():
    pixels = np.random.default_rng(0).integers(90, 150, (40, 50, 3)).astype(np.uint8)
    for kind in KINDS:
        plain = draw_defect(Scene(pixels), Scene(pixels), kind, np.random.default_rng(3))
        everywhere = Scene(pixels, np.ones((40, 50), bool))
        again = draw_defect(everywhere, Scene(pixels), kind, np.random.default_rng(3), 1)
        np.testing.assert_array_equal(plain.pixels, again.pixels)


def test_an_area_that_fits_nowhere_is_refused(uncalibrated, pictures):
    with pytest.raises(InputError, match="no part of it where defects count is as large"):
        Exam(pictures, Decoding(), 0, VerdictRule(minimum_area=5000)).taken_by(uncalibrated.session)


def test_values_that_count_alone_are_answers():
    """A map's values in a line are the map, for what is counted."""
    rng = np.random.default_rng(1)
    maps = [[rng.random((6, 5)).astype(np.float32) for _ in range(3)] for _ in range(4)]
    masks = [[np.zeros((6, 5), bool), *(rng.random((2, 6, 5)) > 0.8)] for _ in range(4)]
    scores = np.array([[m.max() for m in some] for some in maps], float)
    flat = [[m.ravel() for m in some] for some in maps]
    lines = [[m.ravel() for m in some] for some in masks]
    ours, theirs = Answers.of(scores, flat, lines).parts, Answers.of(scores, maps, masks).parts
    assert ours.criterion == theirs.criterion
    masks[0] = [np.zeros((6, 5), bool)] * 3
    assert np.isfinite(Answers.of(scores, maps, masks).parts.criterion).all()
    nowhere = [[np.zeros((6, 5), bool)] * 3] * 4
    with pytest.raises(InputError, match="no drawn defect lies where defects count"):
        Answers.of(scores, maps, nowhere)

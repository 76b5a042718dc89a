"""Poses: found against those that a part was drawn in, and pictures brought from one to another."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.transform import AffineTransform, warp

from pyramidflow.alignment import Aligner, Pose, PoseSearch, Reference, ReferenceFacts, learned
from pyramidflow.alignment.pose import sampled, sampled_at, to_float, within_turn
from pyramidflow.alignment.reference import LEAST_COMMON
from pyramidflow.data import ImageSet
from pyramidflow.errors import InputError
from pyramidflow.spec.alignment import AlignmentRule
from tests.support.parts import drawn

TURN = AlignmentRule(align="turn")
SHIFT = AlignmentRule(align="shift")


def off(found, x, y, angle, width):
    """Pixels and degrees between a pose that was found and the true one."""
    pixels = width * np.hypot(found.pose.x - x, found.pose.y - y)
    return pixels, abs(within_turn(found.pose.angle - angle))


def aligner_of(size=64, ratio=1.0, rule=TURN, least=0.8):
    picture = to_float(drawn(size, ratio=ratio))
    shown = torch.ones(picture.shape[1:])
    return Aligner(Reference(picture, shown, ReferenceFacts(ratio, 1.0, least)), rule)


def poses(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x, y = rng.uniform(-0.1, 0.1, 2)
        yield float(x), float(y), float(rng.uniform(-180, 180))


def test_a_pose_carries_points_as_its_formula_says():
    pose, first = Pose(0.1, -0.2, 30.0), Pose(-0.3, 0.05, 170.0)

    def matrix(p):
        c, s = np.cos(np.radians(p.angle)), np.sin(np.radians(p.angle))
        return np.array([[c, -s, p.x], [s, c, p.y], [0, 0, 1]])

    np.testing.assert_allclose(matrix(pose.after(first)), matrix(pose) @ matrix(first), atol=1e-12)
    np.testing.assert_allclose(matrix(pose.inverse), np.linalg.inv(matrix(pose)), atol=1e-12)


@pytest.mark.parametrize(("size", "ratio"), [((48, 64), 0.75), ((64, 40), 2.0)])
def test_pictures_are_read_where_scikit_image_reads_them(size, ratio):
    rng = np.random.default_rng(0)
    picture = rng.random(size).astype(np.float32)
    pose = Pose(0.06, -0.04, 25.0)
    height, width = size
    ours = sampled(torch.from_numpy(picture)[None], sampled_at(pose, size, ratio), padding="zeros")

    scale = np.array([[1 / width, 0, 0.5 / width - 0.5], [0, ratio / height, 0], [0, 0, 1]])
    scale[1, 2] = ratio * (0.5 / height - 0.5)  # pixels to widths from the centre
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    carry = np.array([[c, -s, pose.x], [s, c, pose.y], [0, 0, 1]])
    theirs = warp(picture, AffineTransform(np.linalg.inv(scale) @ carry @ scale), order=1)
    np.testing.assert_allclose(ours[0], theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "pixels", "degrees"), [(32, 0.12, 0.25), (96, 0.05, 0.05), (256, 0.03, 0.02)]
)
def test_any_pose_is_found_to_parts_of_a_pixel(size, pixels, degrees):
    search = PoseSearch(to_float(drawn(size)), 1.0, 0.25, 180)
    for x, y, angle in poses(8):
        found = search.find(to_float(drawn(size, x, y, angle, light=0.8)))
        far, turned = off(found, x, y, angle, size)
        assert far < pixels
        assert turned < degrees
        assert found.agreement > 0.97


def test_a_defect_moves_the_pose_by_less_than_half_a_pixel():
    search = PoseSearch(to_float(drawn(96)), 1.0, 0.25, 180)
    for x, y, angle in poses(6, seed=1):
        for defect in ({"tip": False}, {"dent": (0.1, 0.0)}):
            found = search.find(to_float(drawn(96, x, y, angle, **defect)))
            far, turned = off(found, x, y, angle, 96)
            assert far < 0.5
            assert turned < 0.5


def test_a_height_of_another_scale_is_no_other_angle():
    size, ratio = (48, 96), 0.75  # squeezed: 64 by 96 were its proportions
    search = PoseSearch(to_float(drawn(size, ratio=ratio)), ratio, 0.25, 180)
    for x, y, angle in poses(6, seed=2):
        found = search.find(to_float(drawn(size, x / 2, y / 2, angle, ratio=ratio)))
        far, turned = off(found, x / 2, y / 2, angle, 96)
        assert far < 0.3
        assert turned < 0.3


def test_light_that_changes_across_the_picture_moves_nothing():
    search = PoseSearch(to_float(drawn(96)), 1.0, 0.25, 180)
    slope = np.linspace(0.7, 1.2, 96)[None, :, None]
    picture = (drawn(96, 0.05, -0.03, 100.0) * slope).clip(0, 255).astype(np.uint8)
    far, turned = off(search.find(to_float(picture)), 0.05, -0.03, 100.0, 96)
    assert far < 0.2
    assert turned < 0.2


def test_what_is_not_looked_for_is_not_found():
    still = PoseSearch(to_float(drawn(64)), 1.0, 0.25, 0)
    found = still.find(to_float(drawn(64, 0.06, 0.02)))
    assert found.pose.angle == 0
    assert off(found, 0.06, 0.02, 0, 64)[0] < 0.1
    near = PoseSearch(to_float(drawn(64)), 1.0, 0.05, 30)
    for x, angle in ((0.2, 0.0), (0.0, 90.0)):
        found = near.find(to_float(drawn(64, x, 0, angle)))
        assert np.hypot(found.pose.x, found.pose.y) < 0.07
        assert abs(found.pose.angle) < 33
        assert found.agreement < 0.8


def other_pictures():
    rng = np.random.default_rng(0)
    yield np.full((64, 64, 3), 200, np.uint8)
    yield rng.integers(100, 250, (64, 64, 3)).astype(np.uint8)
    y, x = np.mgrid[:64, :64]
    disc = np.hypot(x - 30, y - 34) < 18
    yield np.repeat(np.where(disc, 80, 200).astype(np.uint8)[..., None], 3, 2)
    yield drawn(64, 0.45, 0.1)  # half of it is not in the picture


def test_another_part_agrees_less_than_one_with_a_defect():
    aligner = aligner_of()
    for pixels in other_pictures():
        placed = aligner.place(pixels)
        assert not placed.is_found
        assert placed.pixels is pixels
        assert placed.pose == Pose()
    assert aligner.place(drawn(64, 0.05, 0.02, 70, tip=False)).is_found


@pytest.mark.parametrize("least", [-0.37, 0.0])
def test_what_shows_no_part_is_never_placed_whatever_a_file_allows(least):
    aligner = aligner_of(least=least)
    assert aligner.reference.facts.limit == LEAST_COMMON
    for pixels in list(other_pictures())[:3]:
        assert not aligner.place(pixels).is_found


def test_good_parts_that_differ_much_do_not_let_everything_pass(lying_anyhow):
    rng = np.random.default_rng(0)
    pictures = []
    for index in range(10):
        cloud = gaussian_filter(rng.normal(size=(64, 64)), 3)
        differing = drawn(64) + (6 * index / cloud.std() * cloud)[..., None]
        pictures.append(differing.clip(0, 255).astype(np.uint8))
    found = learned(lying_anyhow(pictures), SHIFT, 1.0)
    assert found.placed == list(range(10))
    assert found.reference.facts.least_agreement == LEAST_COMMON
    for pixels in list(other_pictures())[:3]:
        assert not Aligner(found.reference, SHIFT).place(pixels).is_found


def test_a_placed_picture_is_the_reference_s_and_goes_on_beyond_its_border():
    aligner = aligner_of(96)
    expected = drawn(96).astype(int)
    for x, y, angle in poses(4, seed=3):
        placed = aligner.place(drawn(96, x, y, angle, light=0.9))
        assert placed.is_found
        # The part and what was filled in: everything looks as if it had been drawn there.
        assert np.abs(placed.pixels - 0.9 * expected).max() < 12


def test_an_image_that_lies_right_stays_bit_by_bit():
    aligner = aligner_of()
    pixels = drawn(64, light=0.9)
    placed = aligner.place(pixels, aligner.found_in(drawn(64)))
    shifted = placed.pose
    assert np.hypot(shifted.x, shifted.y) * 64 < 1e-3
    assert np.abs(placed.pixels.astype(int) - pixels).max() <= 1
    assert aligner.seen(Pose(), (64, 64)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_keep_their_type(dtype):
    pixels = drawn(64, 0.03, 0.0, 10).astype(dtype) * (257 if dtype == np.uint16 else 1)
    assert aligner_of().place(pixels).pixels.dtype == dtype


def test_what_was_filled_in_is_not_seen():
    seen = aligner_of().seen(Pose(x=0.25), (16, 16))  # 4 pixels, and four beside them
    assert seen[:, :8].all()
    assert not seen[:, 8:].any()


def test_what_good_images_hardly_show_is_not_seen():
    picture, shown = to_float(drawn(64)), torch.ones(64, 64)
    shown[:8] = 0.2
    aligner = Aligner(Reference(picture, shown, ReferenceFacts(1.0, 1.0, 0.8)), TURN)
    seen = aligner.seen(Pose(), (32, 32))
    assert not seen[:4].any()
    assert seen[4:].all()


def test_a_map_comes_back_to_where_the_part_lies():
    aligner = aligner_of(64)
    for x, y, angle in poses(6, seed=4):
        pose, there = Pose(x, y, angle), np.zeros((64, 64), np.float32)
        there[30, 40] = 2.0
        back = aligner.back(there, pose)
        u, v = 40.5 / 64 - 0.5, 30.5 / 64 - 0.5
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        column, row = (c * u - s * v + x + 0.5) * 64, (s * u + c * v + y + 0.5) * 64
        assert np.unravel_index(back.argmax(), back.shape) == (int(row), int(column))
        assert back.max() == 2.0
        assert back.min() == 0


@pytest.fixture
def lying_anyhow(tmp_path):
    def write(pictures):
        paths = []
        for index, picture in enumerate(pictures):
            paths.append(tmp_path / f"{index:02}.png")
            Image.fromarray(picture).save(paths[-1])
        return ImageSet(paths, (64, 64))

    return write


def test_a_reference_is_learned_from_parts_that_lie_anyhow(lying_anyhow):
    true = list(poses(10, seed=5))
    pictures = [drawn(64, *pose, light=1 - 0.02 * i) for i, pose in enumerate(true)]
    blank = np.full((64, 64, 3), 200, np.uint8)
    found = learned(lying_anyhow([*pictures, blank]), TURN, 1.0)
    assert found.placed == list(range(10))
    assert found.reference.facts.agreement > 0.97
    # Of two images the poses differ as the parts do.
    for each, (x, y, angle) in zip(found.found[:10], true, strict=True):
        relative = Pose(x, y, angle).inverse.after(each.pose)
        expected = Pose(*true[0]).inverse.after(found.found[0].pose)
        assert 64 * np.hypot(relative.x - expected.x, relative.y - expected.y) < 0.2
        assert abs(within_turn(relative.angle - expected.angle)) < 0.2


def test_the_reference_lies_in_the_middle_of_parts_that_are_only_shifted(lying_anyhow):
    shifts = [0.0, 0.02, 0.04, 0.06, 0.08]
    found = learned(lying_anyhow([drawn(64, x) for x in shifts]), SHIFT, 1.0)
    centred = [each.pose.x for each in found.found]
    np.testing.assert_allclose(centred, np.subtract(shifts, 0.04), atol=2e-3)


def test_images_without_a_common_pose_are_refused(lying_anyhow):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(6)]
    with pytest.raises(InputError, match="no pose in common"):
        learned(lying_anyhow(noise), TURN, 1.0)

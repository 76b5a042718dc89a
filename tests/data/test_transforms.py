"""Resizing and augmentation of images."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from pyramidflow.data import augment_texture, resize_image
from tests.support.image_files import random_pixels, refused


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(20, 31), (64, 48), (1, 1), (37, 90)])
def test_resize_equals_float64_interpolation(dtype, size):
    image = random_pixels((37, 53, 3), dtype)
    resized = resize_image(image, size)
    planes = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    exact = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    error = np.abs(resized - exact[0].permute(1, 2, 0).numpy())
    assert resized.dtype == dtype
    assert resized.shape == (*size, 3)
    assert resized.flags.c_contiguous
    # 8 bits are rounded after each of the two directions. 16 bits are rounded once, after float32
    # arithmetic that is good to a few tens of its epsilon (2^-23) of the full scale.
    assert error.max() <= (1.01 if dtype == np.uint8 else 0.5 + 32 * 2**-23 * 65535)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_halving_weighs_four_pixels_by_1_3_3_1(dtype):
    row = random_pixels(32, dtype)
    image = np.broadcast_to(row[None, :, None], (8, 32, 3)).astype(dtype)
    resized = resize_image(image, (8, 16))
    wide = row.astype(np.float64)
    inner = (wide[1:-3:2] + 3 * wide[2:-2:2] + 3 * wide[3:-1:2] + wide[4::2]) / 8
    assert np.abs(resized[3, 1:-1, 0] - inner).max() <= 0.51


def test_resize_to_the_same_size_changes_nothing():
    image = random_pixels((9, 9, 3))
    assert resize_image(image, 9) is image
    assert resize_image(image, 4).shape == (4, 4, 3)


@pytest.mark.filterwarnings("error")
def test_resize_takes_views_and_read_only_images():
    image = random_pixels((12, 12, 3))
    view = image[::-1, ::-1]
    expected = resize_image(np.ascontiguousarray(view), 5)
    np.testing.assert_array_equal(resize_image(view, 5), expected)
    fixed = np.ascontiguousarray(view)
    fixed.setflags(write=False)
    np.testing.assert_array_equal(resize_image(fixed, 5), expected)


def test_resize_refuses_other_arrays():
    refused(lambda: resize_image(random_pixels((5, 5)), 3), "[5, 5]", "[H, W, 3]", "read_image")
    refused(lambda: resize_image(np.zeros((5, 5, 3)), 3), "float64", "uint16", "read_image")
    refused(lambda: resize_image(random_pixels((5, 5, 3)), (0, 3)), "0×3", "1×1", "give")


def test_augmentation_gives_the_eight_ways_to_lay_a_square_equally_often():
    image = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    turns = [np.rot90(image, k) for k in range(4)]
    expected = {turn.tobytes() for turn in turns} | {turn[:, ::-1].tobytes() for turn in turns}
    rng = np.random.default_rng(0)
    count = 4000
    found = Counter()
    for _ in range(count):
        out = augment_texture(image, rng)
        assert out.flags.c_contiguous
        found[out.tobytes()] += 1
    assert set(found) == expected
    # Five standard deviations of a binomial count with probability 1/8
    margin = 5 * math.sqrt(count * (1 / 8) * (7 / 8))
    assert all(abs(times - count / 8) < margin for times in found.values())


def test_augmentation_permutes_whole_pixels():
    image = random_pixels((8, 8, 3), np.uint16)
    out = augment_texture(image, np.random.default_rng(0))
    assert out.dtype == np.uint16
    assert not np.array_equal(out, image)
    assert sorted(map(tuple, out.reshape(-1, 3))) == sorted(map(tuple, image.reshape(-1, 3)))


def test_what_is_not_square_is_flipped_but_not_turned():
    oblong = random_pixels((4, 6, 3))
    rng = np.random.default_rng(0)
    flips = {augment_texture(oblong, rng).tobytes() for _ in range(60)}
    expected = [oblong, oblong[::-1], oblong[:, ::-1], oblong[::-1, ::-1]]
    assert flips == {np.ascontiguousarray(image).tobytes() for image in expected}

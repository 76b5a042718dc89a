"""Defects that are drawn into good images."""

import numpy as np
import pytest

from pyramidflow.tuning.defects import KINDS, draw_defect
from pyramidflow.tuning.scene import Scene, find_part


def textured(size=(90, 70), seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    whites = np.iinfo(dtype).max
    ramp = np.linspace(0.3, 0.6, size[1])[None, :, None] * whites
    pixels = ramp + rng.normal(0, 0.03 * whites, (*size, 3))
    return pixels.clip(0, whites).astype(dtype)


def on_background(seed=0):
    pixels = np.full((80, 100, 3), 12, np.uint8)
    pixels[20:60, 30:80] = textured((40, 50), seed)
    return pixels


def drawn(pixels, kind, seed):
    other = Scene(textured(seed=99, dtype=pixels.dtype))
    return draw_defect(Scene(pixels), other, kind, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_mask_is_the_truth(kind, dtype):
    pixels = textured(dtype=dtype)
    before = pixels.copy()
    for seed in range(8):
        found = drawn(pixels, kind, seed)
        assert found.kind == kind
        assert found.pixels.dtype == dtype
        np.testing.assert_array_equal(pixels, before)
        np.testing.assert_array_equal(found.pixels[~found.mask], pixels[~found.mask])
        changed = (found.pixels != pixels).any(2)
        assert changed[found.mask].mean() > 0.9
        assert 0 < found.mask.mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_again(kind):
    pixels = textured()
    first, again, another = (drawn(pixels, kind, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.pixels != another.pixels).any()


def test_strengths_reach_from_faint_to_plain():
    pixels = textured()
    scene = Scene(pixels)
    changes = []
    for seed in range(60):
        found = drawn(pixels, KINDS[seed % len(KINDS)], seed)
        difference = np.abs(found.pixels.astype(float) - pixels)[found.mask].mean()
        changes.append(difference / scene.range)
    assert np.percentile(changes, 30) < 0.1
    assert max(changes) > 0.4


def test_defects_lie_on_the_part():
    pixels = on_background()
    part = np.zeros((80, 100), bool)
    part[18:62, 28:82] = True
    for kind in KINDS:
        for seed in range(6):
            assert not (drawn(pixels, kind, seed).mask & ~part).any()


def test_a_part_is_told_from_a_flat_background_alone():
    found = find_part(on_background().astype(np.float32).mean(2))
    assert found[22:58, 32:78].all()
    assert found.sum() < 1.2 * 40 * 50
    assert find_part(textured().astype(np.float32).mean(2)).all()
    assert find_part(np.full((9, 9), 40, np.float32)).all()


def test_grey_images_stay_grey():
    grey = np.repeat(textured()[..., :1], 3, axis=2)
    other = np.repeat(textured(seed=5)[..., :1], 3, axis=2)
    for seed, kind in enumerate(KINDS):
        found = draw_defect(Scene(grey), Scene(other), kind, np.random.default_rng(seed)).pixels
        assert (found == found[..., :1]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8)])
@pytest.mark.parametrize("tone", [0, 128, 255])
def test_any_image_gets_a_defect(kind, size, tone):
    pixels = np.full((*size, 3), tone, np.uint8)
    found = draw_defect(Scene(pixels), Scene(pixels), kind, np.random.default_rng(0))
    assert (found.pixels != pixels).any(2)[found.mask].any()

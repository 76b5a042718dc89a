"""Template and spread of the training latents, and the images that are left out of both."""

import numpy as np
import pytest
import torch

from pyramidflow import PyramidFlow
from pyramidflow.spec import ContrastRule
from pyramidflow.training.moments import (
    LEVEL_FLOOR,
    PIXEL_FLOOR,
    PRIOR_IMAGES,
    Moments,
    inverse_spread,
    variances,
)
from pyramidflow.training.statistics import normal_of
from tests.support.latents import drawn
from tests.support.tiny import TINY

RULES = [
    ContrastRule(spread=spread, light=light)
    for spread in ("channel", "pixel")
    for light in (False, True)
]


def moments_of(images, rule):
    moments = Moments(rule)
    for latents in images:
        moments.add(latents)
    return moments


def stacked(images, level):
    return np.stack([latents[level][0].double().numpy() for latents in images])  # [N, C, h, w]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_moments_are_those_of_numpy(rule):
    images = drawn(6)
    moments = moments_of(images, rule)
    others = moments.without(images[2])
    del images[2]
    for found, used in ((moments, drawn(6)), (others, images)):
        for level, (mean, variance) in enumerate(
            zip(found.mean(), variances([found]), strict=True)
        ):
            z = stacked(used, level)
            np.testing.assert_allclose(mean[0], z.mean(0), rtol=1e-12, atol=1e-12)
            if rule.light:
                z = z - z.mean((2, 3), keepdims=True)
            np.testing.assert_allclose(variance[0], z.var(0, ddof=1), rtol=1e-9, atol=1e-12)


def slow_spread(z, spread):
    """``σ²`` by its definition, pixel by pixel: variances ``[C, h, w]`` of ``N`` images."""
    variance = z.var(0, ddof=1)
    channels, height, width = variance.shape
    mean = variance.mean((1, 2))
    least = LEVEL_FLOOR**2 * mean.mean()
    if spread == "channel":
        return np.maximum(mean, least)[:, None, None]
    found = np.empty_like(variance)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                around = variance[c, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].mean()
                shrunk = (len(z) * around + PRIOR_IMAGES * mean[c]) / (len(z) + PRIOR_IMAGES)
                found[c, i, j] = max(shrunk, PIXEL_FLOOR**2 * mean[c], least)
    return found


@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize("rule", RULES[::2], ids=str)
def test_spread_follows_its_formula(rule, count):
    images = drawn(count)
    for level, weights in enumerate(inverse_spread([moments_of(images, rule)], rule)):
        expected = slow_spread(stacked(images, level), rule.spread) ** -0.5
        assert weights.dtype == torch.float32
        assert weights.shape == (1, *expected.shape)
        np.testing.assert_allclose(weights[0], expected, rtol=1e-6)


@pytest.mark.parametrize("spread", ["channel", "pixel"])
def test_what_never_changes_has_the_floor_of_its_channel_or_level(spread):
    rule = ContrastRule(light=False, spread=spread)
    images = drawn(2000)
    for latents in images:
        latents[0][:, 0, :, :6] = 1.0  # most pixels of a channel
        latents[0][:, 1] = 2.0  # a channel
        latents[1][:] = 3.0  # a level
    fine, coarse = inverse_spread([moments_of(images, rule)], rule)
    variance = torch.from_numpy(stacked(images, 0).var(0, ddof=1))
    of_channels = variance.mean((1, 2))
    least = LEVEL_FLOOR**2 * float(of_channels.mean())
    np.testing.assert_allclose(fine[0, 1], least**-0.5, rtol=1e-5)
    assert torch.equal(coarse, torch.ones_like(coarse))
    if spread == "pixel":
        floor = PIXEL_FLOOR * float(of_channels[0]) ** 0.5
        assert float(fine[0, 0].max()) == pytest.approx(1 / floor, rel=1e-5)


def test_one_image_has_no_spread():
    rule = ContrastRule(light=False, spread="pixel")
    for weights in inverse_spread([moments_of(drawn(1), rule)], rule):
        assert torch.equal(weights, torch.ones_like(weights))


def test_no_spread_is_taken_where_none_is_asked_for():
    moments = moments_of(drawn(3), ContrastRule(spread="none", light=False))
    assert inverse_spread([moments], ContrastRule(spread="none", light=False)) is None


@pytest.mark.parametrize(
    "rule",
    [ContrastRule(spread="none", light=False, robust=0.2), ContrastRule("pixel", True, 0.15)],
)
def test_the_images_that_differ_most_are_left_out(rule):
    images = drawn(10)
    images[3][0][0, :, 2, 2] += 60  # two faults in different places
    images[7][1][0, :, 1, 3] -= 60
    found = normal_of(PyramidFlow(**TINY).eval(), images.__getitem__, 10, rule)
    assert {suspect.index for suspect in found.suspects} == {3, 7}
    assert found.suspects[0].score > found.suspects[1].score
    rest = [latents for index, latents in enumerate(images) if index not in (3, 7)]
    clean = moments_of(rest, rule)
    for template, mean in zip(found.template, clean.mean(), strict=True):
        torch.testing.assert_close(template, mean.float(), rtol=1e-5, atol=1e-5)
    expected = inverse_spread([clean], rule)
    assert (found.inverse_spread is None) == (expected is None)
    for weights, wanted in zip(found.inverse_spread or (), expected or (), strict=True):
        torch.testing.assert_close(weights, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "left_out"), [(1, 0), (2, 0), (3, 1), (5, 1), (11, 2)])
def test_two_images_remain_whatever_share_may_be_bad(count, left_out):
    images = drawn(count)
    found = normal_of(
        PyramidFlow(**TINY).eval(),
        images.__getitem__,
        count,
        ContrastRule(spread="none", light=False, robust=0.1),
    )
    assert len(found.suspects) == left_out


def test_an_image_does_not_hide_behind_the_spread_that_it_makes():
    """Compared with a spread that it has part in, no image of n is off by more than √n."""
    rule = ContrastRule("pixel", light=False, robust=0.1)
    images = drawn(10)
    images[4][0][0, :, 3, 3] += 1000
    (suspect,) = normal_of(PyramidFlow(**TINY).eval(), images.__getitem__, 10, rule).suspects
    assert suspect.index == 4
    assert suspect.score > 100


def partly_shown(count):
    """Latents, and a rectangle of each that it does not show; one pixel is never shown."""
    rng = np.random.default_rng(3)
    shapes = [(1, 3, 8, 8), (1, 3, 4, 4)]
    images, masks = [], []
    for index in range(count):
        images.append([torch.from_numpy(rng.normal(index % 3, 2, shape)) for shape in shapes])
        seen = torch.ones(8, 7, dtype=torch.bool)  # the map, without the column that pads it
        top, left = rng.integers(0, 5, 2)
        seen[top : top + 3, left : left + 3] = False
        seen[0, 6] = False
        masks.append(seen)
    return images, masks


def weights_by_hand(masks, level):
    """A pixel of a level is shown where all below it are; the last column is the one before it."""
    found = []
    for seen in masks:
        shown = np.concatenate([seen.numpy(), seen.numpy()[:, -1:]], 1)
        step = 2**level
        blocks = shown.reshape(8 // step, step, 8 // step, step)
        found.append(np.where(blocks.all((1, 3)), 1.0, 1e-3))
    return np.stack(found)[:, None]  # [N, 1, h, w]


@pytest.mark.parametrize("light", [False, True])
def test_what_an_image_does_not_show_hardly_counts(light):
    rule = ContrastRule(spread="pixel", light=light)
    images, masks = partly_shown(12)
    moments = Moments(rule)
    for latents, seen in zip(images, masks, strict=True):
        moments.add(latents, seen)
    moments = moments.without(images.pop(5), masks.pop(5))
    for level in range(2):
        z, w = stacked(images, level), weights_by_hand(masks, level)
        np.testing.assert_allclose(moments.counts()[level][0], w.sum(0), rtol=1e-9)
        np.testing.assert_allclose(moments.mean()[level][0], (w * z).sum(0) / w.sum(0), rtol=1e-9)
        if light:
            z = z - z.mean((2, 3), keepdims=True)
        middle = (w * z).sum(0) / w.sum(0)
        variance = (w * (z - middle) ** 2).sum(0) / np.maximum(w.sum(0) - 1, 1)
        np.testing.assert_allclose(variances([moments])[level][0], variance, rtol=1e-6, atol=1e-12)


def test_a_pixel_that_is_never_shown_has_the_spread_of_its_channel():
    rule = ContrastRule(light=False, spread="pixel")
    images, masks = partly_shown(200)
    moments = Moments(rule)
    for latents, seen in zip(images, masks, strict=True):
        seen[:, 3:] = False
        latents[0][..., :3] = 5 * latents[0][..., :3]
        latents[0][..., 3:] = 1.0  # filled in, always alike
        moments.add(latents, seen)
    weights = inverse_spread([moments], rule)[0][0]  # [C, h, w]
    shown = stacked(images, 0)[..., :3].std()
    np.testing.assert_allclose(1 / weights[..., 6:], shown, rtol=0.1)
    np.testing.assert_allclose(1 / weights[..., 0], shown, rtol=0.3)

"""What the levels of the pyramid agree on, up to the detector's file."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast
from pyramidflow.model.agreeing import AgreeingLevels
from tests.support.part_sets import fitted
from tests.support.runtime_cases import comparison_of_images, trained_network
from tests.support.tiny import TINY

compared = partial(comparison_of_images, fusion="product")
"""The comparison of these tests."""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"light": False, "spread": "none"},
        {"spread": "channel"},
        {"position": "none", "light": False},
    ],
)
def test_the_map_is_that_of_the_formula(settings):
    size = (40, 48)
    network = trained_network(size, levels=3, stacks=1, kernel_size=3)
    comparison = compared(network, size, **settings)
    assert isinstance(comparison, AgreeingLevels)
    wide = comparison.to(torch.device("cpu"), torch.float64)
    contrast = wide.contrast
    with torch.no_grad():
        latents = [z.double() for z in network(torch.randn(2, 3, *size))]
    expected = np.log(contrast.map_of(latents).numpy())
    shift = contrast.shift(latents) or [torch.zeros(1)] * 3
    spread = contrast.inverse_spread or [torch.ones(1)] * 3
    for d, z in enumerate(latents):
        differing = ((z - contrast.template[d] - shift[d]) * spread[d]).numpy()
        deviation = np.sqrt(np.mean(differing**2, axis=1))
        level = [cv2.resize(x, size[::-1], interpolation=cv2.INTER_LINEAR) for x in deviation]
        expected += np.log(np.stack(level)) * (1, 1, 2)[d] / 4
    np.testing.assert_allclose(wide.map_of(latents).numpy(), np.exp(expected / 2), rtol=1e-9)


def test_what_equals_the_template_is_zero():
    template = [torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)]
    latents = [template[0].clone(), template[1].clone()]
    latents[0][..., 1, 1] = 5.0  # in one level alone
    comparison = AgreeingLevels(Contrast(template))
    assert comparison.map_of(latents).eq(0).all()
    latents[1][..., 0, 0] = 5.0
    found = comparison.map_of(latents)
    assert found[0, 1, 1] > 0
    assert found.isfinite().all()


def test_numbers_that_are_not_finite_are_seen():
    template = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2)]
    latents = [torch.ones(1, 2, 4, 4), torch.ones(1, 2, 2, 2)]
    latents[0][0, 0, 2, 2] = float("nan")
    assert AgreeingLevels(Contrast(template)).map_of(latents)[0, 2, 2].isnan()


def test_halves_are_compared_in_single_precision():
    template = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2)]
    latents = [torch.full((1, 2, 4, 4), 300.0), torch.full((1, 2, 2, 2), 300.0)]
    halves = [z.half() for z in latents]  # 300² has no place in one
    comparison = AgreeingLevels(Contrast(template))
    found = comparison.to(torch.device("cpu"), torch.float16).map_of(halves)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, comparison.map_of(latents), rtol=1e-3, atol=0)


def test_latents_of_another_size_are_refused():
    size = (40, 48)
    network = trained_network(size, levels=2, stacks=1, kernel_size=3)
    comparison = compared(network, size)
    with pytest.raises(InputError, match="the template has levels"):
        comparison.check([(1, network.architecture.channels, 48, 48)] * 2)


def test_a_file_keeps_it(tiny_set, tmp_path):
    detector = fitted(tiny_set, fusion="product")
    plain = fitted(tiny_set)
    picture = next((tiny_set / "test" / "dent").iterdir())
    detector.save(tmp_path / "part.safetensors")
    again = Detector.load(tmp_path / "part.safetensors")
    assert again.spec.contrast.fusion == "product"
    found = again.inspect(picture).anomaly_map
    np.testing.assert_array_equal(found, detector.inspect(picture).anomaly_map)
    assert not np.allclose(found, plain.inspect(picture).anomaly_map)


@pytest.mark.parametrize("other", [{"templates": 2}, {"tolerance": 1}, {"codebook": 0.1}])
def test_it_goes_with_one_template(other):
    with pytest.raises(InputError, match="levels agree on the difference from one template"):
        Detector(32, **TINY, fusion="product", **other)


def test_ablations_compare_plainly():
    with pytest.raises(InputError, match="the contrast is fusion product"):
        Detector(32, **TINY, without=["pyramid-difference"], fusion="product")

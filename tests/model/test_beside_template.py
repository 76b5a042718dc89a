"""A codebook beside the template: the geometric mean of both maps, up to the detector's file."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.model import Codebook, Contrast
from pyramidflow.model.beside import BesideTemplate
from pyramidflow.model.codebook import level_of
from pyramidflow.model.templates import NearestTemplate
from tests.support.part_sets import fitted, scattered_squares, write_set
from tests.support.runtime_cases import comparison_of_images, trained_network
from tests.support.tiny import TINY

compared = partial(comparison_of_images, codebook=0.5, beside_template=True)
"""The comparison of these tests."""


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, Contrast),
        ({"light": False, "spread": "none"}, Contrast),
        ({"tolerance": 1}, NearestTemplate),
    ],
)
def test_the_map_is_the_geometric_mean_of_both(settings, kind):
    size = (40, 48)
    network = trained_network(size, levels=2, stacks=1, kernel_size=3)
    comparison = compared(network, size, **settings)
    assert isinstance(comparison, BesideTemplate)
    assert isinstance(comparison.template, kind)
    with torch.no_grad():
        latents = [z.double() for z in network(torch.randn(2, 3, *size))]
    wide = comparison.to(torch.device("cpu"), torch.float64)
    far = wide.codebook.distances(latents)[:, 0].numpy()
    far = np.stack([cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR) for each in far])
    expected = np.exp((np.log(wide.template.map_of(latents).numpy()) + np.log(far)) / 2)
    np.testing.assert_allclose(wide.map_of(latents).numpy(), expected, rtol=1e-9)


def test_small_numbers_are_not_lost():
    template = [torch.zeros(1, 1, 2, 2)]
    codebook = Codebook(torch.zeros(1, 1), torch.zeros(1), torch.ones(1), 0)
    beside = BesideTemplate(Contrast(template), codebook)
    latents = [torch.full((1, 1, 2, 2), 1e-30)]
    assert beside.codebook.map_of(latents).square().max() == 0  # a product of them would be 0
    torch.testing.assert_close(beside.map_of(latents), torch.full((1, 2, 2), 1e-30))


def test_a_defect_at_the_border_is_as_far_off_as_one_in_the_middle():
    levels = [torch.zeros(1, 1, 64 >> d, 64 >> d) for d in range(4)]
    codebook = Codebook(torch.zeros(1, 4), torch.zeros(4), torch.ones(4), 3)
    beside = BesideTemplate(Contrast([z - 1 for z in levels]), codebook)
    everywhere = [z + 1 for z in levels]
    found = beside.map_of(everywhere)
    alone = beside.template.map_of(everywhere)
    torch.testing.assert_close(found, alone.sqrt())


@pytest.mark.parametrize(("stride", "level"), [(1, 4), (4, 3), (8, 2), (16, 1), (32, 0), (None, 3)])
def test_positions_are_thirty_two_pixels_apart(stride, level):
    assert level_of(stride, 5, True) == level


def test_latents_that_one_of_them_cannot_compare_are_refused():
    size = (40, 48)
    network = trained_network(size, levels=2, stacks=1, kernel_size=3)
    comparison = compared(network, size)
    channels = network.architecture.channels
    comparison.check([(1, channels, 40, 48), (1, channels, 20, 24)])
    with pytest.raises(InputError, match="the template has levels"):
        comparison.check([(1, channels, 48, 48), (1, channels, 24, 24)])
    with pytest.raises(InputError, match="the codebook has entries"):
        comparison.check([(1, channels + 1, 40, 48), (1, channels + 1, 20, 24)])


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """Squares that lie anyhow on a plain ground; a defect is a square of another brightness."""
    return write_set(tmp_path_factory.mktemp("scattered") / "plate", scattered_squares)


def test_it_finds_more_than_the_template_where_parts_lie_anyhow(scattered, tmp_path):
    detector = fitted(scattered, codebook=0.5, beside_template=True)
    both = evaluate(detector, open_dataset(scattered)).metrics
    alone = evaluate(fitted(scattered), open_dataset(scattered)).metrics
    assert both.aupro_03 > alone.aupro_03 + 0.2
    detector.save(tmp_path / "part.safetensors")
    again, picture = Detector.load(tmp_path / "part.safetensors"), scattered / "test/dent/00.png"
    assert again.spec.contrast.spread == "pixel"
    np.testing.assert_array_equal(
        again.inspect(picture).anomaly_map, detector.inspect(picture).anomaly_map
    )


def test_beside_a_template_there_is_a_codebook():
    with pytest.raises(InputError, match="beside_template is true and codebook 0"):
        Detector(32, **TINY, beside_template=True)

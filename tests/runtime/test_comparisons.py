"""Comparisons that need the whole image, behind a runtime and behind its tiles."""

import pytest

from pyramidflow.model.agreeing import AgreeingLevels
from pyramidflow.model.beside import BesideTemplate
from tests.support.backends import require_backend
from tests.support.numbers import relative_error
from tests.support.runtime_cases import (
    ERROR,
    comparison_of_images,
    oracle,
    pictures,
    trained_network,
    whole_runtime,
)
from tests.support.tile_cases import small_tiling, tiled_runtime

BESIDE = {"codebook": 0.5, "beside_template": True}
COMPARISONS = {
    "levels agree": ({"fusion": "product"}, AgreeingLevels),
    "levels agree, without light": ({"fusion": "product", "light": False}, AgreeingLevels),
    "beside a template": (BESIDE, BesideTemplate),
    "beside a template, without light": (BESIDE | {"light": False}, BesideTemplate),
    "beside two templates": (BESIDE | {"templates": 2}, BesideTemplate),
    "beside levels that agree": (BESIDE | {"fusion": "product"}, BesideTemplate),
}
"""Settings of a comparison, and its class."""


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_runtime_equals_the_network(name):
    require_backend("cpu")
    settings, kind = COMPARISONS[name]
    size = (50, 70)
    network = trained_network(size, levels=3, stacks=1, kernel_size=3)
    comparison = comparison_of_images(network, size, **settings)
    assert isinstance(comparison, kind)
    images = pictures(2, size)
    expected = oracle(network, images, comparison)
    found = whole_runtime(network, comparison, (2, *size)).inspect(images)
    assert relative_error(found, expected) <= ERROR


@pytest.mark.parametrize("name", ["levels agree", "beside a template"])
def test_tiles_equal_the_whole_image(name):
    require_backend("cpu")
    size = (150, 163)
    network = trained_network(size, levels=4, stacks=1, kernel_size=5)
    comparison = comparison_of_images(network, size, **COMPARISONS[name][0])
    images = pictures(1, size)
    runtime = tiled_runtime(network, comparison, (1, *size), small_tiling(network, size, 2, 2))
    assert relative_error(runtime.inspect(images), oracle(network, images, comparison)) <= ERROR

"""The pyramid: the oracle against its definition, the CPU library against the oracle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow import ops
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.pyramid.reference import binomial_filter
from tests.support.cpu_cases import (
    LAYOUTS,
    SIZES,
    Maker,
    check_pyramid,
    on_cpu,
)
from tests.support.operands import available, random

torch.manual_seed(0)


def slow_filter(x):
    """G by its definition, pixel by pixel, in numpy."""
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    height, width = x.shape
    padded = np.zeros((height + 4, width + 4))
    padded[2:-2, 2:-2] = x
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            out[i, j] = (padded[i : i + 5, j : j + 5] * taps).sum()
    return out


def slow_up(coarse, size):
    return slow_filter(
        np.array([[coarse[i // 2, j // 2] for j in range(size[1])] for i in range(size[0])])
    )


sizes = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(sizes, sizes, st.integers(0, 99))
def test_pyramid_ops_follow_their_definition(height, width, seed):
    x = np.random.default_rng(seed).normal(size=(height, width))
    tensor = torch.from_numpy(x)[None, None]
    filtered = slow_filter(x)
    nearest = ops.pyramid_down(tensor, "nearest")
    np.testing.assert_allclose(nearest[0, 0], filtered[::2, ::2], atol=1e-12)
    largest = ops.pyramid_down(tensor, "max")
    cells = [
        [filtered[i : i + 2, j : j + 2].max() for j in range(0, width, 2)]
        for i in range(0, height, 2)
    ]
    np.testing.assert_allclose(largest[0, 0], cells, atol=1e-12)
    up = slow_up(nearest[0, 0].numpy(), (height, width))
    np.testing.assert_allclose(ops.pyramid_residual(tensor, nearest)[0, 0], x - up, atol=1e-12)
    np.testing.assert_allclose(ops.pyramid_merge(nearest, tensor)[0, 0], x + up, atol=1e-12)


def test_up_sampling_repeats_pixels_of_any_size():
    coarse = torch.arange(2283.0).reshape(1, 1, -1, 1)
    with ops.use_backend("reference"):
        up = ops.pyramid_merge(coarse, torch.zeros(1, 1, 4565, 1))
    exact = ops.pyramid_merge(coarse.double(), torch.zeros(1, 1, 4565, 1).double())
    torch.testing.assert_close(up.double(), exact, rtol=1e-6, atol=0)


def test_filter_sums_to_one():
    image = torch.ones(1, 2, 9, 9, dtype=torch.float64)
    assert torch.allclose(binomial_filter(image)[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2])


OPS = torch.ops.pyramidflow


@pytest.mark.parametrize("reduction", ["nearest", "max"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 4), (1, 1)])
def test_gradient_of_pyramid_down(reduction: str, size: tuple[int, int]) -> None:
    x = random(2, 3, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ops.pyramid_down(x, reduction), [x], fast_mode=True)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 2)])
def test_maximum_is_the_first_of_its_cell(size: tuple[int, int]) -> None:
    x = torch.zeros(1, 2, *size)
    for backend in available():
        with ops.use_backend(backend):
            _, index = OPS.pyramid_down(x, "max")
        assert torch.count_nonzero(index) == 0, backend


cpu, oracle = steps("cpu"), steps("reference")


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [*SIZES, (1, 2, 3, 2100)], ids=str)
def test_pyramid(size: tuple[int, ...], layout: str, level: int) -> None:
    check_pyramid(Maker(layout), *size)


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_first_of_equal_maxima_is_taken(layout: str, level: int) -> None:
    flat = torch.zeros_like(Maker(layout)(1, 3, 6, 40))
    _, index = cpu.pyramid_down(flat, "max")
    assert torch.count_nonzero(index) == 0


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_a_maximum_of_no_number_is_kept(layout: str, level: int) -> None:
    x = Maker(layout)(1, 3, 12, 80)
    x[0, 1, 5, 40] = x[0, 2, 7, 7] = math.nan
    x[0, 0, 3, 3], x[0, 0, 3, 60] = math.inf, -math.inf
    y, index = cpu.pyramid_down(x, "max")
    want, want_index = oracle.pyramid_down(x, "max")
    assert want.isnan().any()
    assert torch.equal(y.isnan(), want.isnan())
    assert torch.equal(index, want_index)


@on_cpu
def test_infinite_pixels_stay_in_their_neighbourhood(level: int) -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 8, 8] = math.inf
    y, _ = cpu.pyramid_down(x, "nearest")
    want, _ = oracle.pyramid_down(x, "nearest")
    assert torch.equal(torch.isfinite(y), torch.isfinite(want))


@on_cpu
def test_infinite_gradients_stay_in_their_neighbourhood(level: int) -> None:
    grad, index = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 3, dtype=torch.uint8)
    grad[0, 0, 4, 4] = math.inf
    for reduction, start in (("nearest", 6), ("max", 7)):
        want = torch.zeros(1, 1, 16, 16)
        want[..., start : start + 5, start : start + 5] = math.inf
        assert torch.equal(cpu.pyramid_down_backward(grad, index, 16, 16, reduction), want)

"""Triton's kernels of the pyramid against the oracle; ``test_triton.py`` runs them interpreted."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed")

from tests.support.triton_cases import (
    DEVICE,
    FORWARD,
    GRADIENT,
    blocks_chosen,
    compare,
    comparison,
    draw,
    drawn,
    halved,
    levels,
    oracle_of,
    ours_of,
    relative_error,
    smallest_blocks,
)

LEVELS = [
    ((1, 9, 9, 34), torch.float32, "contiguous"),
    ((2, 8, 16, 32), torch.float32, "contiguous"),  # fills its blocks
    ((1, 3, 9, 11), torch.float32, "channels_last"),
    ((2, 2, 7, 10), torch.float32, "strided"),
    ((1, 3, 6, 9), torch.float16, "contiguous"),
    ((1, 3, 5, 8), torch.bfloat16, "channels_last"),
    ((2, 2, 2, 3), torch.bfloat16, "strided"),
    ((3, 1, 1, 1), torch.float32, "contiguous"),
    ((1, 2, 1, 7), torch.float16, "contiguous"),
    ((1, 2, 6, 1), torch.float32, "contiguous"),
]


def _compare_pyramid_down(
    size: tuple[int, ...], dtype: torch.dtype, layout: str, reduction: str
) -> None:
    x = draw(*size, layout=layout, dtype=dtype)
    half = halved(size)
    if dtype == torch.float32:
        compare("pyramid_down", x, reduction, tolerance=FORWARD)
    else:
        # Rounding makes ties, and a tie goes to another pixel in another type.
        y, index = ours_of.pyramid_down(x.to(DEVICE), reduction)
        exact, _ = oracle_of.pyramid_down(x.double(), reduction)
        theirs, _ = oracle_of.pyramid_down(x, reduction)
        assert relative_error(y, exact) <= 2 * relative_error(theirs, exact)
        assert index.shape == (half if reduction == "max" else (0,))
    grad = draw(*half, layout=layout, dtype=dtype)
    index = torch.zeros(0, dtype=torch.uint8)
    if reduction == "max":
        index = oracle_of.pyramid_down(x.double(), reduction)[1]
    compare("pyramid_down_backward", grad, index, *size[2:], reduction, tolerance=GRADIENT)


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "dtype", "layout"), LEVELS)
@pytest.mark.parametrize("reduction", ["nearest", "max"])
def test_pyramid_down_equals_oracle(
    size: tuple[int, ...], dtype: torch.dtype, layout: str, reduction: str
) -> None:
    torch.manual_seed(0)
    _compare_pyramid_down(size, dtype, layout, reduction)


@comparison
def test_maximum_of_ties_and_nan_equals_oracle() -> None:
    x = torch.ones(1, 1, 9, 9)
    compare("pyramid_down", x, "max", tolerance=FORWARD)
    x[0, 0, 5, 5] = float("nan")  # filtered, it begins inside a cell, not at its first pixel
    y, _ = ours_of.pyramid_down(x.to(DEVICE), "max")
    expected, _ = oracle_of.pyramid_down(x, "max")
    assert torch.equal(y.cpu().isnan(), expected.isnan())


def compare_pyramid_up(fine: Tensor, coarse: Tensor) -> None:
    compare("pyramid_residual", fine, coarse, tolerance=FORWARD)
    compare("pyramid_merge", coarse, fine, tolerance=FORWARD)
    compare("pyramid_up_backward", fine, tolerance=GRADIENT)


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "dtype", "layout"), LEVELS)
def test_pyramid_up_equals_oracle(size: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    torch.manual_seed(1)
    fine = draw(*size, layout=layout, dtype=dtype)
    coarse = draw(*halved(size), layout=layout, dtype=dtype)
    compare_pyramid_up(fine, coarse)


@comparison
@drawn(10)
@given(levels(5), st.sampled_from(["nearest", "max"]), st.integers(0, 23))
def test_drawn_pyramids_equals_oracle(level: Any, reduction: str, blocks: int) -> None:
    size, dtype, layout = level
    torch.manual_seed(blocks)
    fine = draw(*size, layout=layout, dtype=dtype)
    coarse = draw(*halved(size), layout=layout, dtype=dtype)
    with blocks_chosen(blocks):
        _compare_pyramid_down(size, dtype, layout, reduction)
        compare_pyramid_up(fine, coarse)

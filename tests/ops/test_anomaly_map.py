"""The anomaly map and the 1×1 convolution, against what they are defined by."""

import numpy as np
import pytest
import torch

from pyramidflow import ops
from pyramidflow.errors import InputError
from tests.support.cpu_cases import (
    LAYOUTS,
    SIZES,
    Maker,
    check_others,
    compare,
    cpu,
    on_cpu,
    oracle,
)
from tests.support.operands import available, random

torch.manual_seed(0)


def test_conv1x1_multiplies_every_pixel():
    y = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    weight = torch.randn(3, 3, dtype=torch.float64)
    expected = torch.einsum("ij,bjhw->bihw", weight, y)
    torch.testing.assert_close(ops.invertible_conv1x1(y, weight), expected)


def test_anomaly_map_equals_composing_every_channel():
    generator = torch.Generator().manual_seed(2)
    shapes = [(12, 8), (6, 4), (3, 2)]
    z = [torch.randn(2, 3, *s, generator=generator, dtype=torch.float64) for s in shapes]
    mean = [torch.randn(1, 3, *s, generator=generator, dtype=torch.float64) for s in shapes]
    composed = (z[2] - mean[2]).abs()
    for d in (1, 0):
        composed = ops.pyramid_merge(composed, (z[d] - mean[d]).abs())
    torch.testing.assert_close(ops.anomaly_map(z, mean), composed.mean(1))


def test_anomaly_map_takes_off_a_shift_and_divides_by_the_spread():
    generator = torch.Generator().manual_seed(2)
    shapes = [(5, 7), (3, 4)]
    z = [torch.randn(2, 3, *s, generator=generator, dtype=torch.float64) for s in shapes]
    mean = [torch.randn(1, 3, *s, generator=generator, dtype=torch.float64) for s in shapes]
    spread = [torch.rand(1, 3, *s, generator=generator, dtype=torch.float64) + 0.5 for s in shapes]
    shift = [torch.randn(2, 3, 1, 1, generator=generator, dtype=torch.float64) for _ in shapes]
    expected = ops.anomaly_map(
        [(a - m - b) / w for a, b, m, w in zip(z, mean, shift, spread, strict=True)],
        [torch.zeros_like(b) for b in mean],
    )
    found = ops.anomaly_map(z, mean, [1 / w for w in spread], shift)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("tolerance", [1, 2, 3])
def test_anomaly_map_with_a_tolerance_takes_the_least_contrast_around(tolerance):
    rng = np.random.default_rng(2)
    z, mean, spread = (rng.normal(size=(n, 3, 5, 7)) for n in (2, 1, 1))
    shift = rng.normal(size=(2, 3, 1, 1))
    weight = np.abs(spread) + 0.5
    expected = np.full((2, 5, 7), np.inf)
    for b, i, j in np.ndindex(2, 5, 7):
        for row in range(max(i - tolerance, 0), min(i + tolerance, 4) + 1):
            for column in range(max(j - tolerance, 0), min(j + tolerance, 6) + 1):
                difference = z[b, :, i, j] - mean[0, :, row, column] - shift[b, :, 0, 0]
                contrast = np.mean(np.abs(difference) * weight[0, :, row, column])
                expected[b, i, j] = min(expected[b, i, j], contrast)
    operands = ([torch.from_numpy(x)] for x in (z, mean, weight, shift))
    found = ops.anomaly_map(*operands, tolerance=tolerance)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_tolerance_hides_no_number_that_is_not_finite():
    z = torch.zeros(1, 2, 5, 6)
    z[0, 1, 2, 3] = torch.nan
    found = ops.anomaly_map([z], [torch.zeros_like(z)], tolerance=1)
    assert found[0, 2, 3].isnan()


def test_anomaly_map_has_no_derivative_where_it_is_for_inspection():
    z = [torch.randn(1, 2, 4, 4, requires_grad=True)]
    zero, one, none = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 1, 1)
    for operands in ({"inverse_spread": [one]}, {"shift": [none]}, {"tolerance": 1}):
        found = ops.anomaly_map(z, [zero], **operands)
        with pytest.raises(InputError, match="no derivative with inverse_spread, shift or toler"):
            found.sum().backward()


def test_a_negative_view_in_an_optional_list_is_read_as_it_is() -> None:
    z, mean, shift = random(1, 2, 4, 4), random(1, 2, 4, 4, seed=1), random(1, 2, 1, 1, seed=2)
    for backend in available():
        with ops.use_backend(backend):
            expected = ops.anomaly_map([z.float()], [mean.float()], None, [-shift.float()])
            negated = torch._neg_view(shift.float())
            got = ops.anomaly_map([z.float()], [mean.float()], None, [negated])
        torch.testing.assert_close(got, expected, msg=backend)


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_conv1x1_and_anomaly_map(size: tuple[int, ...], layout: str, level: int) -> None:
    check_others(Maker(layout), *size)


BLOCKS = [
    (1, 16, 9, 1),
    (2, 3, 17, 2),
    (2, 24, 1, 15),
    (2, 64, 8, 17),
    (2, 16, 19, 150),
    (1, 300, 10, 33),
]
"""Batch, channels, height, width: below a vector, above a block, images that a tolerance exceeds,
channels that leave lanes empty."""


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tolerance", [1, 2, 3, 5])
@pytest.mark.parametrize("size", BLOCKS, ids=str)
def test_a_tolerance_beyond_blocks_and_borders(
    size: tuple[int, int, int, int], tolerance: int, layout: str, level: int
) -> None:
    make, (batch, channels) = Maker(layout), size[:2]
    z, mean = [make(*size)], [make(batch, *size[1:])]
    spread, shift = [make(1, *size[1:]).abs()], [make(batch, channels, 1, 1)]
    for operands in ((None, None), (spread, None), (None, shift), (spread, shift)):
        compare("anomaly_map", (z, mean, *operands, tolerance))
    compare("anomaly_map", (z, [mean[0][:1]], spread, shift, tolerance))


@on_cpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_not_finite_counts_where_it_is_a_neighbour(
    layout: torch.memory_format, level: int
) -> None:
    z, mean = random(1, 3, 20, 37).float(), random(1, 3, 20, 37, seed=1).float()
    z[0, 1, 0, 0], z[0, 2, 19, 36] = torch.inf, torch.nan
    mean[0, 0, 7, 16] = mean[0, 2, 19, 0] = torch.nan
    mean[0, 1, :, 30:] = torch.inf
    operands = [[x.contiguous(memory_format=layout)] for x in (z, mean)]
    expected = oracle.anomaly_map(*operands, None, None, 2)
    assert (expected.isnan().sum(), expected.isinf().sum()) == (25 + 9 + 1, 1 + 20 * 5 - 1)
    got = cpu.anomaly_map(*operands, None, None, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0, equal_nan=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_no_number_of_a_template_is_hidden_by_a_later_neighbour(
    layout: torch.memory_format,
) -> None:
    z, mean = random(1, 2, 5, 6), random(1, 2, 5, 6, seed=1)
    mean[0, 0, 2, 3] = torch.nan
    near = torch.zeros(5, 6, dtype=torch.bool)
    near[1:4, 2:5] = True
    for backend in available():
        with ops.use_backend(backend):
            operands = [x.float().contiguous(memory_format=layout) for x in (z, mean)]
            got = ops.anomaly_map([operands[0]], [operands[1]], None, None, 1)
        assert torch.equal(got[0].isnan(), near), backend

"""The oracle itself, against values found another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import CouplingMode
from pyramidflow.ops.pyramid.reference import binomial_filter

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


def coupling_inputs(batch=2, channels=3, size=(4, 5), params_size=None):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    params = torch.randn(
        batch, 2 * channels, *(params_size or size), generator=generator, dtype=torch.float64
    )
    return x, params


MEAN_AXES = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
}


@pytest.mark.parametrize(("volume_norm", "statistics"), MEAN_AXES)
def test_coupling_follows_algorithms_1_and_2(volume_norm, statistics):
    x, params = coupling_inputs()
    y, mean, log_det = ops.affine_coupling(x, params, None, CouplingMode(volume_norm, statistics))
    s0, t = params[:, :3].numpy(), params[:, 3:].numpy()
    clamped = 2 * 0.636 * np.arctan(s0 / 2)
    expected_mean = clamped.mean(axis=MEAN_AXES[volume_norm, statistics], keepdims=True)
    s = clamped - expected_mean
    np.testing.assert_allclose(mean, expected_mean, atol=1e-14)
    np.testing.assert_allclose(y, np.exp(s) * x.numpy() + t, atol=1e-13)
    np.testing.assert_allclose(log_det, s.sum((1, 2, 3)), atol=1e-12)


def test_coupling_subtracts_a_given_mean_and_none_subtracts_nothing():
    x, params = coupling_inputs()
    given_mean = torch.full((1, 1, 4, 5), 0.25, dtype=torch.float64)
    s = 2 * 0.636 * torch.atan(params[:, :3] / 2)
    y, mean, _ = ops.affine_coupling(x, params, given_mean, CouplingMode("cvn"))
    torch.testing.assert_close(y, torch.exp(s - 0.25) * x + params[:, 3:])
    torch.testing.assert_close(mean, given_mean)
    y, _, log_det = ops.affine_coupling(x, params, None, CouplingMode("none"))
    torch.testing.assert_close(y, torch.exp(s) * x + params[:, 3:])
    torch.testing.assert_close(log_det, s.sum((1, 2, 3)))


def test_coupling_resizes_parameters_after_the_mean():
    x, params = coupling_inputs(size=(2, 3), params_size=(4, 6))
    y, mean, _ = ops.affine_coupling(x, params, None, CouplingMode("svn"))
    s = 2 * 0.636 * torch.atan(params[:, :3] / 2)
    expected_mean = s.mean((2, 3), keepdim=True)  # over every pixel, not only those that are kept
    torch.testing.assert_close(mean, expected_mean)
    kept = torch.exp((s - expected_mean)[..., ::2, ::2]) * x + params[:, 3:, ::2, ::2]
    torch.testing.assert_close(y, kept)


@pytest.mark.parametrize("volume_norm", ["cvn", "svn", "none"])
def test_coupling_inverse_undoes_the_coupling(volume_norm):
    x, params = coupling_inputs()
    y, _, log_det = ops.affine_coupling(x, params, None, CouplingMode(volume_norm))
    back, inverse_log_det = ops.affine_coupling_inverse(y, params, None, CouplingMode(volume_norm))
    torch.testing.assert_close(back, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inverse_log_det, -log_det)


def test_samples_do_not_leak_into_one_another():
    x, params = coupling_inputs()
    together = ops.affine_coupling(x, params, None, CouplingMode("svn", "sample"))[0]
    alone = ops.affine_coupling(x[:1], params[:1], None, CouplingMode("svn", "sample"))[0]
    torch.testing.assert_close(together[:1], alone)
    batch = ops.affine_coupling(x, params, None, CouplingMode("svn", "batch"))[0]
    assert (batch[:1] - alone).abs().max() > 1e-3


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


@pytest.mark.parametrize(("dtype", "full"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_normalize_image_scales_by_the_type(dtype, full):
    image = torch.tensor([[[[0, full // 5, full]]]], dtype=dtype)  # [1, 1, 1, 3]
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 2.0])
    out = ops.normalize_image(image, mean, std)
    expected = [(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (1 - 0.3) / 2.0]
    assert out.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(out.flatten(), expected, atol=1e-6)
    half = ops.normalize_image(image, mean, std, torch.float16)
    assert half.dtype == torch.float16
    np.testing.assert_allclose(half.flatten(), expected, atol=2e-3)


def test_clamp_keeps_the_log_scale_bounded():
    params = torch.tensor([1e9, -1e9, 0.0, 0.0]).reshape(1, 4, 1, 1)
    _, _, log_det = ops.affine_coupling(
        torch.ones(1, 2, 1, 1), params[:, [0, 0, 2, 3]], None, CouplingMode("none")
    )
    assert math.isclose(float(log_det), 2 * 2 * 0.636 * math.pi / 2, rel_tol=1e-6)


def test_gradients_match_finite_differences():
    x, params = (t.requires_grad_() for t in coupling_inputs(size=(2, 2), params_size=(4, 4)))
    for volume_norm in ("cvn", "svn", "none"):
        assert torch.autograd.gradcheck(
            lambda a, b, v=volume_norm: ops.affine_coupling(a, b, None, CouplingMode(v))[::2],
            (x, params),
        )
        assert torch.autograd.gradcheck(
            lambda a, b, v=volume_norm: ops.affine_coupling_inverse(a, b, None, CouplingMode(v)),
            (x, params),
        )
    fine = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    for reduction in ("nearest", "max"):
        assert torch.autograd.gradcheck(lambda a, r=reduction: ops.pyramid_down(a, r), (fine,))
    assert torch.autograd.gradcheck(ops.pyramid_residual, (fine, coarse))
    assert torch.autograd.gradcheck(ops.pyramid_merge, (coarse, fine))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.pyramid_down(torch.zeros(3, 4)), "[B, C, H, W]"),
        (lambda: ops.pyramid_down(torch.zeros(1, 1, 4, 4), "mean"), "nearest, max"),
        (
            lambda: ops.pyramid_residual(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 2, 3)),
            "[1, 1, 3, 3]",
        ),
        (
            lambda: ops.affine_coupling(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3)),
            "[1, 4, H', W']",
        ),
        (
            lambda: ops.affine_coupling(
                torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 3, 3), torch.zeros(1, 1, 5, 5)
            ),
            "training's image size",
        ),
        (lambda: ops.invertible_conv1x1(torch.zeros(1, 2, 3, 3), torch.zeros(3, 3)), "[2, 2]"),
        (lambda: ops.anomaly_map([], []), "levels"),
        (
            lambda: ops.anomaly_map([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 2, 4, 4)]),
            "same image size",
        ),
        (
            lambda: ops.anomaly_map(
                [torch.zeros(2, 2, 3, 3)],
                [torch.zeros(1, 2, 3, 3)],
                inverse_spread=[torch.zeros(1, 2, 1, 1)],
            ),
            "level 0 of the inverse spread has shape [1, 2, 1, 1]",
        ),
        (
            lambda: ops.anomaly_map(
                [torch.zeros(2, 2, 3, 3)],
                [torch.zeros(1, 2, 3, 3)],
                shift=[torch.zeros(1, 2, 1, 1)],
            ),
            "level 0 of the shift has shape [1, 2, 1, 1]",
        ),
        (
            lambda: ops.anomaly_map([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 2, 3, 3)], shift=[]),
            "levels",
        ),
        (
            lambda: ops.normalize_image(torch.zeros(1, 3, 4, 4), torch.zeros(3), torch.ones(3)),
            "uint8 or uint16",
        ),
    ],
)
def test_wrong_arguments_are_refused_with_a_reason(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_filter_sums_to_one():
    image = torch.ones(1, 2, 9, 9, dtype=torch.float64)
    assert torch.allclose(binomial_filter(image)[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2])

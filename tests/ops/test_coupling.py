"""The affine coupling: the oracle against the paper, the CPU library against the oracle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import CouplingMode, dispatch
from pyramidflow.ops.coupling.mode import SOFT_CLAMP_GAIN
from tests.support.backends import require_backend
from tests.support.cpu_cases import (
    FEW_SIZES,
    LAYOUTS,
    MODES,
    SIZES,
    Maker,
    check_coupling,
    half,
    on_cpu,
)
from tests.support.operands import assert_log_det_left_out, coupling_inputs, random

torch.manual_seed(0)


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


def test_clamp_keeps_the_log_scale_bounded():
    params = torch.tensor([1e9, -1e9, 0.0, 0.0]).reshape(1, 4, 1, 1)
    _, _, log_det = ops.affine_coupling(
        torch.ones(1, 2, 1, 1), params[:, [0, 0, 2, 3]], None, CouplingMode("none")
    )
    assert math.isclose(float(log_det), 2 * 2 * 0.636 * math.pi / 2, rel_tol=1e-6)


OPS = torch.ops.pyramidflow


def test_results_are_never_their_arguments() -> None:
    x, params = random(2, 4, 3, 3), random(2, 8, 3, 3)
    mean = random(1, 1, 3, 3)
    _, taken, _ = OPS.affine_coupling(x, params, mean, "cvn", "sample", 2.0)
    assert taken.numel() == 0
    assert ops.affine_coupling(x, params, mean)[1].shape == (1, 1, 3, 3)


def test_operands_of_different_types_are_promoted() -> None:
    x, params = random(1, 2, 3, 3, dtype=torch.float32), random(1, 4, 3, 3, dtype=torch.float16)
    y, _, _ = ops.affine_coupling(x, params)
    expected, _, _ = dispatch.steps("reference").affine_coupling(
        x, params.float(), None, "cvn", "sample", 2.0
    )
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected)


def test_sums_of_log_scales_are_log_determinants() -> None:
    x, params = random(1, 2, 2, 2), random(1, 4, 2, 2, seed=1)
    _, _, log_det = ops.affine_coupling(x, params, mode=CouplingMode("none"))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: ops.affine_coupling(x, params, mode=CouplingMode("none"))[0], x
    )
    expected = torch.linalg.slogdet(jacobian.reshape(8, 8)).logabsdet
    assert math.isclose(log_det.item(), expected.item(), rel_tol=1e-9)


@pytest.mark.parametrize("mode", MODES, ids="-".join)
@pytest.mark.parametrize("params_size", [(5, 7), (10, 13)], ids=str)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_log_determinant_is_left_out_where_none_is_asked_for(backend, params_size, mode) -> None:
    require_backend(backend)
    operations = dispatch.steps(backend)
    make = Maker("contiguous")
    x, params, weight = make(2, 20, 5, 7), make(2, 40, *params_size), make(20, 20)
    for name in ("affine_coupling", "affine_coupling_inverse"):
        assert_log_det_left_out(operations, name, x, params, None, *mode, 2.0)
    assert_log_det_left_out(operations, "coupling_conv1x1", x, params, None, weight, *mode, 2.0)


def test_gradients_are_the_same_without_a_log_determinant() -> None:
    x, params, weight = random(2, 3, 4, 5), random(2, 6, 4, 5, seed=1), random(3, 3, seed=2)
    operands = [t.requires_grad_() for t in (x, params, weight)]
    calls = {
        "forward": lambda mode: ops.affine_coupling(x, params, mode=mode),
        "inverse": lambda mode: ops.affine_coupling_inverse(x, params, mode=mode),
        "mixed": lambda mode: ops.coupling_conv1x1(x, params, weight, mode=mode),
    }
    for call in calls.values():
        results = [call(CouplingMode("svn", with_log_det=asked)) for asked in (True, False)]
        assert [result[-1].shape for result in results] == [(2,), (0,)]
        assert not results[1][-1].requires_grad
        expected, found = (
            torch.autograd.grad(result[0].square().sum(), operands, allow_unused=True)
            for result in results
        )
        assert all(torch.equal(a, b) for a, b in zip(found[:2], expected[:2], strict=True))
        assert found[2] is expected[2] or torch.equal(found[2], expected[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_of_log_scales_keep_their_range(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 64, 16, 33, dtype=dtype).requires_grad_()
    params = torch.full((1, 128, 16, 33), 60000.0, dtype=dtype).requires_grad_()
    exact = 64 * 16 * 33 * 2 * SOFT_CLAMP_GAIN * math.atan(60000 / 2)
    assert exact > torch.finfo(torch.float16).max
    for name, rest in (
        ("affine_coupling", ()),
        ("affine_coupling_inverse", ()),
        ("coupling_conv1x1", (torch.eye(64, dtype=dtype),)),
    ):
        arguments = (x, params, None, *rest, "none", "sample", 2.0)
        log_det = getattr(OPS, name)(*arguments)[2]
        assert log_det.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert math.isclose(abs(log_det.item()), exact, rel_tol=torch.finfo(dtype).eps)
        (grad,) = torch.autograd.grad(log_det.sum(), params)
        assert grad.dtype == dtype
        torch.library.opcheck(getattr(OPS, name).default, arguments, test_utils="test_faketensor")


def test_conv_coupling_conv1x1_is_the_block_that_it_fuses() -> None:
    x, hidden = random(2, 3, 4, 5), random(2, 6, 8, 10, seed=1)
    kernel, weight = random(6, 6, 7, 7, seed=2) / 9, random(3, 3, seed=3)
    mean = random(1, 1, 8, 10, seed=4)
    params = torch.nn.functional.conv2d(hidden, kernel, padding=3)
    expected, _, _ = ops.coupling_conv1x1(x, params, weight, mean)  # resized, nearest neighbour
    z = ops.conv_coupling_conv1x1(x, hidden, kernel, weight, mean[..., ::2, ::2], resample="down")
    torch.testing.assert_close(z, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": (6, 5, 7, 7)}, "kernel has shape"),
        ({"kernel": (6, 6, 4, 4)}, "kernel has shape"),
        ({"hidden": (2, 6, 9, 10)}, "give levels of fitting sizes"),
        ({"mean": (1, 1, 8, 10)}, "does not broadcast"),
        ({"weight": (4, 4)}, "weight has shape"),
    ],
)
def test_conv_coupling_conv1x1_refuses_other_shapes(changed: dict, message: str) -> None:
    shapes = {"x": (2, 3, 4, 5), "hidden": (2, 6, 8, 10), "kernel": (6, 6, 7, 7)}
    shapes |= {"weight": (3, 3), "mean": (1, 1, 4, 5)} | changed
    with pytest.raises(InputError, match=message):
        ops.conv_coupling_conv1x1(**{k: torch.zeros(v) for k, v in shapes.items()}, resample="down")


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_coupling(mode: tuple[str, str], layout: str, level: int) -> None:
    for size in SIZES:
        check_coupling(Maker(layout), size, size[2:], mode, None)


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_coupling_with_resized_parameters(mode: tuple[str, str], layout: str) -> None:
    for size in FEW_SIZES:
        _, _, height, width = size
        for params_size in (
            (2 * height, 2 * width),
            (2 * height - 1, 2 * width - 1),
            (half(height), half(width)),
            (3 * height, width),
        ):
            check_coupling(Maker(layout), size, params_size, mode, None)


@on_cpu
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("resized", [False, True])
def test_coupling_with_given_mean(resized: bool, layout: str) -> None:
    for batch, channels, height, width in FEW_SIZES:
        params_size = (2 * height, 2 * width) if resized else (height, width)
        for mean_shape in (
            (1, 1, 1, 1),
            (1, 1, *params_size),
            (batch, 1, *params_size),
            (1, channels, 1, 1),
            (batch, channels, 1, 1),
            (1, channels, *params_size),
            (batch, channels, *params_size),
            (1, 1, params_size[0], 1),
        ):
            size = (batch, channels, height, width)
            check_coupling(Maker(layout), size, params_size, ("cvn", "sample"), mean_shape, 1.7)


@on_cpu
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 20), st.integers(1, 40)),
    params_size=st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(MODES),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**30),
)
def test_drawn_couplings(size, params_size, mode, layout, seed) -> None:
    check_coupling(Maker(layout, seed), size, params_size or size[2:], mode, None)

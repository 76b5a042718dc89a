"""Every operation of the CPU library but the convolutions against the oracle in float64."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyramidflow.ops import CouplingMode, allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.cpu import pixel_means_into
from pyramidflow.ops.coupling.schema import mean_shape as shape_of_mean
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.libraries.cpu import Image, function, image_of
from pyramidflow.ops.pyramid.cpu import pyramid_down_max_backward_into
from tests.cpu_cases import FORWARD, GRADIENT, LAYOUTS, Maker, compare
from tests.support.backends import require_backend

cpu, oracle = steps("cpu"), steps("reference")

require_backend("cpu")

pytestmark = pytest.mark.usefixtures("one_thread", "poisoned_memory")

MODES = list(itertools.product(("cvn", "svn", "none"), ("sample", "batch")))

SIZES = [
    (1, 1, 1, 1),
    (2, 3, 1, 5),
    (3, 16, 7, 9),
    (1, 64, 4, 5),
    (4, 5, 2, 37),
    (5, 24, 6, 3),
    (1, 40, 3, 300),
]
"""Batch, channels, height, width: odd, size 1, one pixel, longer than a tile, batch 1 to 5."""

FEW_SIZES = [(2, 16, 5, 7), (1, 40, 3, 450), (3, 3, 6, 2)]


def half(size: int) -> int:
    return (size + 1) // 2


def check_pyramid(make: Maker, batch: int, channels: int, height: int, width: int) -> None:
    fine = make(batch, channels, height, width)
    coarse = make(batch, channels, half(height), half(width))
    nothing = torch.empty(0, dtype=torch.uint8)
    compare("pyramid_down", (fine, "nearest"))
    compare("pyramid_down_backward", (coarse, nothing, height, width, "nearest"), GRADIENT)
    compare("pyramid_residual", (fine, coarse))
    compare("pyramid_merge", (coarse, fine))
    compare("pyramid_up_backward", (fine,), GRADIENT)
    if batch == 0:
        return
    compare("pyramid_down", (fine, "max"))
    _, index = oracle.pyramid_down(fine.double(), "max")
    compare("pyramid_down_backward", (coarse, index, height, width, "max"), GRADIENT)


def check_coupling(
    make: Maker,
    size: tuple[int, int, int, int],
    params_size: tuple[int, int],
    mode: tuple[str, str],
    mean_shape: tuple[int, ...] | None,
    clamp: float = 2.0,
) -> None:
    batch, channels = size[:2]
    x, grad = make(*size), make(*size)
    params = 2 * make(batch, 2 * channels, *params_size)
    mean = None if mean_shape is None else 0.3 * make(*mean_shape)
    weight = make(channels, channels)
    grad_log_det = torch.randn(batch, generator=make.generator)
    settings = (*mode, clamp)
    compare("affine_coupling", (x, params, mean, *settings))
    compare("affine_coupling_inverse", (x, params, mean, *settings))
    compare("coupling_conv1x1", (x, params, mean, weight, *settings))
    used = mean
    if used is None:
        used = oracle.affine_coupling(x, params, mean, *settings)[1]
    backward = (grad, grad_log_det, x, params, used, mean is not None)
    compare("affine_coupling_backward", (*backward, *settings), GRADIENT)
    compare("affine_coupling_inverse_backward", (*backward, *settings), GRADIENT)
    compare("coupling_conv1x1_backward", (*backward, weight, *settings), GRADIENT)


def check_others(make: Maker, batch: int, channels: int, height: int, width: int) -> None:
    y, grad = make(batch, channels, height, width), make(batch, channels, height, width)
    weight = make(channels, channels)
    compare("invertible_conv1x1", (y, weight))
    compare("invertible_conv1x1_backward", (grad, y, weight), GRADIENT)
    sizes = [(height, width)]
    for _ in range(2):
        sizes.append((half(sizes[-1][0]), half(sizes[-1][1])))
    latents = [make(batch, channels, *s) for s in sizes]
    grad_map = torch.randn(batch, height, width, generator=make.generator)
    for mean_batch in {1, batch}:
        template = [make(mean_batch, channels, *s) for s in sizes]
        compare("anomaly_map", (latents, template))
        compare("anomaly_map_backward", (grad_map, latents, template), GRADIENT)
        spread = [make(1, channels, *s).abs() for s in sizes]
        shift = [make(batch, channels, 1, 1) for _ in sizes]
        compare("anomaly_map", (latents, template, spread, None))
        compare("anomaly_map", (latents, template, None, shift))
        compare("anomaly_map", (latents, template, spread, shift))
        compare("anomaly_map", (latents, template, None, None, 3))
        for operands in ((None, None), (spread, None), (None, shift), (spread, shift)):
            compare("anomaly_map", (latents, template, *operands, 1))
    check_pixel_means(y)


def check_pixel_means(x: Tensor) -> None:
    x = dense(x, like=x)
    means = torch.full(x.shape[:2], math.nan)
    pixel_means_into(x, means, image_of(x))
    expected = x.double().mean((2, 3))
    assert (means - expected).norm() <= FORWARD * x.norm() / math.sqrt(x[0, 0].numel())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [*SIZES, (1, 2, 3, 2100)], ids=str)
def test_pyramid(size: tuple[int, ...], layout: str, level: int) -> None:
    check_pyramid(Maker(layout), *size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_conv1x1_and_anomaly_map(size: tuple[int, ...], layout: str, level: int) -> None:
    check_others(Maker(layout), *size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES, ids="-".join)
def test_coupling(mode: tuple[str, str], layout: str, level: int) -> None:
    for size in SIZES:
        check_coupling(Maker(layout), size, size[2:], mode, None)


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


@pytest.mark.parametrize("mixed", [0, 1, 2])
def test_operands_in_different_layouts(mixed: int) -> None:
    first, second = (Maker(LAYOUTS[(mixed + k) % 3], seed=k) for k in range(2))
    x, params = first(2, 4, 6, 8), second(2, 8, 6, 8)
    compare("affine_coupling", (x, params, None, "cvn", "sample", 2.0))
    used = oracle.affine_coupling(x, params, None, "cvn", "sample", 2.0)[1]
    arguments = (second(2, 4, 6, 8), torch.ones(2), x, params, used, False, "cvn", "sample", 2.0)
    compare("affine_coupling_backward", arguments, GRADIENT)
    compare("pyramid_residual", (x, second(2, 4, 3, 4)))
    compare("anomaly_map", ([x], [second(1, 4, 6, 8)]))
    third = Maker(LAYOUTS[(mixed + 2) % 3], seed=2)
    operands = ([third(1, 4, 6, 8)], [second(2, 4, 1, 1)])
    for tolerance in (0, 2):
        compare("anomaly_map", ([x], [second(1, 4, 6, 8)], *operands, tolerance))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("size", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)], ids=str)
def test_nothing_in_nothing_out(size: tuple[int, int, int, int], layout: str) -> None:
    make = Maker(layout)
    batch, channels, height, width = size
    x, coarse = make(*size), make(batch, channels, half(height), half(width))
    assert cpu.pyramid_residual(x, coarse).shape == size
    assert cpu.pyramid_down(x, "nearest")[0].shape == coarse.shape
    assert cpu.pyramid_down(x, "max")[0].shape == coarse.shape
    params = make(batch, 2 * channels, height, width)
    for mode in MODES:
        y, mean, log_det = cpu.affine_coupling(x, params, None, *mode, 2.0)
        assert list(mean.shape) == shape_of_mean(params, CouplingMode(*mode))
        assert y.shape == size
        assert torch.equal(log_det, torch.zeros(batch))
        grads = cpu.affine_coupling_backward(x, log_det, x, params, mean, False, *mode, 2.0)
        assert grads[1].shape == params.shape
    grad_weight = cpu.invertible_conv1x1_backward(x, x, torch.eye(channels))[1]
    assert torch.equal(grad_weight, torch.zeros(channels, channels))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40)),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**30),
)
def test_drawn_shapes(size: tuple[int, ...], layout: str, seed: int) -> None:
    check_pyramid(Maker(layout, seed), *size)
    check_others(Maker(layout, seed), *size)


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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(
    "shape", [(0, 3, 4, 3), (1, 1, 1, 3), (3, 5, 7, 3), (1, 70, 90, 3)], ids=str
)
def test_normalize_image(dtype: torch.dtype, shape: tuple[int, ...], level: int) -> None:
    image = torch.randint(0, torch.iinfo(dtype).max + 1, shape, dtype=torch.int32).to(dtype)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    got = cpu.normalize_image(image, mean, std, torch.float32)
    want = oracle.normalize_image(image, mean.double(), std.double(), torch.float64)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    turned = image.transpose(1, 2)
    torch.testing.assert_close(
        cpu.normalize_image(turned, mean, std, torch.float32), got.transpose(2, 3)
    )


@function("exp")
def exp_into(x: Tensor, y: Tensor, count: int) -> None: ...


@function("atan")
def atan_into(x: Tensor, y: Tensor, count: int) -> None: ...


def apply(write, x: Tensor) -> Tensor:
    y = torch.full_like(x, math.nan)
    write(x, y, x.numel())
    return y


SPECIAL = [0.0, -0.0, math.inf, -math.inf, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.0, -1.0, 1e-20]


@pytest.mark.parametrize(("write", "exact"), [(exp_into, np.exp), (atan_into, np.arctan)])
def test_vector_functions(write, exact, level: int) -> None:
    # Every 8191st of all floats, both signs, and all that are special.
    bits = torch.arange(0, 0x7F800000, 8191, dtype=torch.int32)
    positive = bits.view(torch.float32)
    dense = torch.linspace(-105, 90, 200_001)
    x = torch.cat([positive, -positive, dense, torch.tensor(SPECIAL)])
    got = apply(write, x).double().numpy()
    with np.errstate(over="ignore", under="ignore"):
        want = exact(x.double().numpy())
        as_float = want.astype(np.float32)
    infinite, smallest = np.isinf(as_float), np.finfo(np.float32).tiny
    np.testing.assert_array_equal(np.isinf(got), infinite)
    np.testing.assert_array_equal(np.sign(got), np.sign(as_float))
    normal = ~infinite & (np.abs(want) >= smallest)
    relative = np.abs(got[normal] - want[normal]) / np.abs(want[normal])
    assert relative.max() <= 5e-7
    # Denormal results have fewer digits: within one unit in their last place.
    tiny = ~infinite & ~normal
    assert np.abs(got[tiny] - want[tiny]).max() <= 1.5e-45
    assert torch.isnan(apply(write, torch.full((40,), math.nan))).all()


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("volume_norm", ["cvn", "svn"])
def test_results_do_not_depend_on_the_number_of_threads(volume_norm: str, layout: str) -> None:
    make = Maker(layout)
    x, params, weight = make(2, 16, 60, 70), make(2, 32, 60, 70), make(16, 16)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            z, mean, log_det = cpu.coupling_conv1x1(
                x, params, None, weight, volume_norm, "sample", 2.0
            )
            backward = (x, log_det, x, params, mean, False, weight, volume_norm, "sample", 2.0)
            grads = cpu.coupling_conv1x1_backward(*backward)
            results.append((z, mean, log_det, *grads, *cpu.pyramid_down(x, "max")))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def check_samples(name: str, *arguments) -> None:
    """The results of a batch are those of its three samples, to the last bit."""

    def alone(value, b: int):
        if not isinstance(value, Tensor) or value.shape[0] != 3:
            return value
        return value[b : b + 1].contiguous(memory_format=allocation.memory_format(value))

    function = getattr(cpu, name)
    batch = function(*arguments)
    for b in range(3):
        sample = function(*(alone(a, b) for a in arguments))
        pairs = [(batch, sample)] if isinstance(batch, Tensor) else zip(batch, sample, strict=True)
        for got, want in pairs:
            assert got.shape[0] != 3 or torch.equal(got[b : b + 1], want), name


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_results_larger_than_the_caches(layout: str, level: int) -> None:
    # Those of the batch are written past the caches, those of one sample are not.
    make = Maker(layout)
    x, params, grad = make(3, 16, 424, 420), make(3, 32, 424, 420), make(3, 16, 424, 420)
    assert x.numel() * 4 > 32 << 20
    log_det = torch.ones(3)
    for mode in ("cvn", "svn", "none"):
        settings = (mode, "sample", 2.0)
        for name in ("affine_coupling", "affine_coupling_inverse"):
            check_samples(name, x, params, None, *settings)
            used = getattr(cpu, name)(x, params, None, *settings)[1]
            backward = (grad, log_det, x, params, used, False, *settings)
            check_samples(f"{name}_backward", *backward)
    fine, coarse = make(3, 16, 424, 448), make(3, 16, 212, 224)
    index = (coarse > 0).to(torch.uint8) + 2 * (coarse > 0.5).to(torch.uint8)
    for reduction in ("nearest", "max"):
        check_samples("pyramid_down", fine, reduction)
        check_samples("pyramid_down_backward", coarse, index, 424, 448, reduction)
    check_samples("pyramid_residual", fine, coarse)
    check_samples("pyramid_merge", coarse, fine)
    check_samples("pyramid_up_backward", fine)
    weight = make(16, 16)
    check_samples("invertible_conv1x1", x, weight)
    check_samples("invertible_conv1x1_backward", grad, x, weight)
    check_samples("coupling_conv1x1", x, params, None, weight, "cvn", "sample", 2.0)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_large_results_whose_rows_and_tiles_start_between_vectors(layout: str, level: int) -> None:
    # Stores past the caches want whole vectors at multiples of their size.
    make = Maker(layout)
    for channels, size in ((24, 348), (40, 268)):
        x, grad, params = (make(3, c * channels, size, size) for c in (1, 1, 2))
        assert x.numel() * 4 > 32 << 20
        weight = make(channels, channels)
        check_samples("invertible_conv1x1", x, weight)
        check_samples("invertible_conv1x1_backward", grad, x, weight)
        check_samples("coupling_conv1x1", x, params, None, weight, "cvn", "sample", 2.0)
    x, params, mean = make(3, 16, 264, 264), make(3, 32, 528, 528), make(3, 1, 528, 528)
    check_samples("affine_coupling", x, params, mean, "cvn", "sample", 2.0)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_first_of_equal_maxima_is_taken(layout: str, level: int) -> None:
    flat = torch.zeros_like(Maker(layout)(1, 3, 6, 40))
    _, index = cpu.pyramid_down(flat, "max")
    assert torch.count_nonzero(index) == 0


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


def test_infinite_pixels_stay_in_their_neighbourhood(level: int) -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 8, 8] = math.inf
    y, _ = cpu.pyramid_down(x, "nearest")
    want, _ = oracle.pyramid_down(x, "nearest")
    assert torch.equal(torch.isfinite(y), torch.isfinite(want))


def test_infinite_gradients_stay_in_their_neighbourhood(level: int) -> None:
    grad, index = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 3, dtype=torch.uint8)
    grad[0, 0, 4, 4] = math.inf
    for reduction, start in (("nearest", 6), ("max", 7)):
        want = torch.zeros(1, 1, 16, 16)
        want[..., start : start + 5, start : start + 5] = math.inf
        assert torch.equal(cpu.pyramid_down_backward(grad, index, 16, 16, reduction), want)


OPENMP_SCRIPT = """
import torch
from pyramidflow import ops
with ops.use_backend("cpu"):
    ops.pyramid_down(torch.ones(1, 8, 64, 64))
with open("/proc/self/maps") as maps:
    print(*sorted({line.split(maxsplit=5)[5].strip() for line in maps if "libgomp" in line}))
"""


def test_no_second_openmp_runtime() -> None:
    # In a process of its own: other tests load packages that bring one.
    out = subprocess.run(
        [sys.executable, "-c", OPENMP_SCRIPT], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(out) == 1, out
    assert str(Path(torch.__file__).parent) in out[0]


def test_memory_that_cannot_be_had_is_an_error() -> None:
    x = torch.ones(1, 1, 2, 2)
    with pytest.raises(MemoryError, match="scratch buffers of pyramid_down_max_backward"):
        pyramid_down_max_backward_into(x, x, x, Image(1, 1 << 52, 2, 1, 1))

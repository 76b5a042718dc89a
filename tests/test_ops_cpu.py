"""Every operation of the CPU library against the oracle in float64: results and gradients."""

import ctypes
import itertools
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation, dispatch, planner, registry

if not dispatch.status("cpu").available:
    pytest.skip(dispatch.status("cpu").reason, allow_module_level=True)

from pyramidflow.ops import backend_cpu as cpu
from pyramidflow.ops import backend_reference as oracle
from pyramidflow.ops import spectral
from pyramidflow.ops.compiled_cpu import call

FORWARD, GRADIENT = 1e-5, 1e-4
"""Relative errors allowed by the design."""

MODES = list(itertools.product(("cvn", "svn", "none"), ("sample", "batch")))

LAYOUTS = ["contiguous", "channels-last", "strided"]

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


@pytest.fixture(autouse=True)
def _one_thread():
    # Threads that wait for one another on a busy machine would take most of the time here; a test
    # of its own compares their numbers.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = allocation.empty

    def poisoned(shape, like, dtype=None):
        result = allocate(shape, like, dtype)
        return result.fill_(math.nan if result.is_floating_point() else 255)

    monkeypatch.setattr(allocation, "empty", poisoned)


@pytest.fixture(params=[0, 1, 2], ids=["baseline", "avx2", "avx512"])
def level(request: pytest.FixtureRequest):
    limit = cpu.compiled().pyramidflow_cpu_limit_level
    if limit(request.param) != request.param:
        pytest.skip("this processor does not have the instruction set")
    yield request.param
    limit(2)


class Maker:
    """Reproducible tensors in one layout."""

    def __init__(self, layout: str, seed: int = 0) -> None:
        self.layout = layout
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        if self.layout == "strided":
            wide = torch.randn(*shape[:-1], 2 * shape[-1] + 1, generator=self.generator)
            return wide[..., 1::2]
        x = torch.randn(shape, generator=self.generator)
        if self.layout == "channels-last" and len(shape) == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x


def double(value):
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list):
        return [double(v) for v in value]
    return value


def compare(name: str, arguments: tuple, tolerance: float = FORWARD) -> None:
    results = getattr(cpu, name)(*arguments)
    expected = getattr(oracle, name)(*(double(a) for a in arguments))
    if isinstance(results, Tensor):
        results, expected = [results], [expected]
    for position, (got, want) in enumerate(zip(results, expected, strict=True)):
        assert got.shape == want.shape, (name, position)
        if not got.is_floating_point():
            assert torch.equal(got, want), (name, position)
            continue
        assert got.dtype == torch.float32
        # What cancels is measured by the size of what was added up.
        size = max(want.norm().item(), summands(name, arguments, want) * math.sqrt(want.numel()))
        error = (got.double() - want).norm().item()
        assert error <= tolerance * size, (name, position, error / max(size, 1e-30))


def summands(name: str, arguments: tuple, result: Tensor) -> float:
    if "coupling" not in name or result.numel() == 0:
        return 0.0
    if result.dim() == 1:  # the log-determinant: a sum over a sample's elements, of size 1
        return math.sqrt(next(a for a in arguments if is_data(a) and a.dim() == 4)[0].numel())
    return 0.1 * max(a.abs().max().item() for a in arguments if is_data(a))


def is_data(value) -> bool:
    return isinstance(value, Tensor) and value.numel() > 0


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


def check_convolution(
    make: Maker,
    batch: int,
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    kernel: int,
    tile: int,
) -> None:
    x, weight = make(batch, inputs, *size), make(outputs, inputs, kernel, kernel)
    for resample in ("none", "up", "down"):
        shape = planner.Convolution(batch, inputs, outputs, *size, kernel, resample)
        if tile > 0 and planner.spectral_kernel(shape) >= tile:
            continue
        compare("conv2d", (x, weight, resample, tile))
        grad = make(batch, outputs, *spectral.output_size(shape))
        compare("conv2d_backward", (grad, x, weight, resample, tile, True, True), GRADIENT)


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
        assert list(mean.shape) == registry.mean_shape(params, *mode)
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


def apply(name: str, x: Tensor) -> Tensor:
    y = torch.full_like(x, math.nan)
    cpu.call(name, x, y, x.numel())
    return y


SPECIAL = [0.0, -0.0, math.inf, -math.inf, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.0, -1.0, 1e-20]


@pytest.mark.parametrize(("name", "exact"), [("exp", np.exp), ("atan", np.arctan)])
def test_vector_functions(name: str, exact, level: int) -> None:
    # Every 8191st of all floats, both signs, and all that are special.
    bits = torch.arange(0, 0x7F800000, 8191, dtype=torch.int32)
    positive = bits.view(torch.float32)
    dense = torch.linspace(-105, 90, 200_001)
    x = torch.cat([positive, -positive, dense, torch.tensor(SPECIAL)])
    got = apply(name, x).double().numpy()
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
    assert torch.isnan(apply(name, torch.full((40,), math.nan))).all()


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
    check_samples("coupling_conv1x1", x, params, None, weight, "cvn", "sample", 2.0)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_first_of_equal_maxima_is_taken(layout: str, level: int) -> None:
    flat = torch.zeros_like(Maker(layout)(1, 3, 6, 40))
    _, index = cpu.pyramid_down(flat, "max")
    assert torch.count_nonzero(index) == 0


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
    huge = cpu.Image(1, 1 << 52, 2, 1, 1)
    function = cpu.compiled().pyramidflow_cpu_pyramid_down_max_backward
    assert function(x.data_ptr(), x.data_ptr(), x.data_ptr(), huge, 1) == 1
    assert isinstance(function, ctypes._CFuncPtr)


CONVOLUTIONS = [
    (1, 1, 1, (1, 1), 7),
    (2, 3, 5, (9, 1), 3),
    (3, 16, 32, (5, 40), 7),
    (1, 20, 9, (33, 27), 5),
    (2, 17, 16, (13, 14), 1),
    (5, 4, 24, (8, 8), 7),
]
"""Batch, inputs, outputs, size, kernel: channels that leave lanes empty, images below a tile."""


@pytest.mark.parametrize("tile", [-1, 0, *planner.TILES])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("batch", "inputs", "outputs", "size", "kernel"), CONVOLUTIONS)
def test_convolution(level, layout, batch, inputs, outputs, size, kernel, tile) -> None:
    check_convolution(Maker(layout), batch, inputs, outputs, size, kernel, tile)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, 5),
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from((1, 3, 5, 7)),
    st.sampled_from(planner.TILES),
)
def test_convolution_of_any_shape(batch, inputs, outputs, size, kernel, tile) -> None:
    check_convolution(Maker("channels-last"), batch, inputs, outputs, size, kernel, tile)


def test_convolution_of_no_image() -> None:
    x, weight = torch.empty(0, 3, 4, 4), torch.ones(2, 3, 3, 3)
    assert cpu.conv2d(x, weight, "none", -1).shape == (0, 2, 4, 4)
    grads = cpu.conv2d_backward(torch.empty(0, 2, 4, 4), x, weight, "none", -1, True, True)
    assert torch.equal(grads[1], torch.zeros_like(weight))


def test_convolution_in_blocks_of_any_length() -> None:
    x = torch.randn(3, 16, 40, 50).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(8, 16, 7, 7)
    shape = spectral.described(x, weight, "none")
    method = planner.with_tile(shape, 16)
    results = []
    for block in (1, 2, 7, 1000):
        prepared = spectral.PreparedConvolution(shape, replace(method, block=block), weight)
        y = torch.full((3, 8, 40, 50), math.nan).contiguous(memory_format=torch.channels_last)
        prepared.run((spectral.source(x),), y, torch.full((prepared.workspace_size,), math.nan))
        results.append(y)
    assert all(torch.equal(y, results[0]) for y in results)
    expected = functional.conv2d(x.double(), weight.double(), padding=3)
    assert (results[0] - expected).norm() <= FORWARD * expected.norm()


def test_convolution_of_two_resized_sources() -> None:
    fine, coarse = torch.randn(2, 5, 34, 22), torch.randn(2, 7, 9, 6)
    fine, coarse = (v.contiguous(memory_format=torch.channels_last) for v in (fine, coarse))
    weight = torch.randn(4, 12, 7, 7)
    joined = torch.cat(
        [fine[:, :, ::2, ::2], functional.interpolate(coarse, scale_factor=2)[:, :, :17, :11]], 1
    )
    shape = spectral.described(joined, weight, "none")
    prepared = spectral.PreparedConvolution(
        shape, planner.with_tile(shape, 20), weight, channels=(5, 7)
    )
    y = torch.full((2, 4, 17, 11), math.nan).contiguous(memory_format=torch.channels_last)
    sources = (spectral.source(fine, -1), spectral.source(coarse, 1))
    prepared.run(sources, y, torch.full((prepared.workspace_size,), math.nan), slope=0.01)
    expected = functional.conv2d(joined.double(), weight.double(), padding=3)
    expected = functional.leaky_relu(expected, 0.01)
    assert (y - expected).norm() <= FORWARD * expected.norm()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [3, 16, 20])
def test_convolution_with_an_epilogue(level, channels: int, stride: int) -> None:
    make = Maker("channels-last")
    x, weight, bias = make(2, 4, 19, 30), make(channels, 4, 3, 3), make(channels)
    shape = spectral.described(x, weight, "none" if stride == 1 else "down")
    prepared = spectral.PreparedConvolution(shape, planner.with_tile(shape, 16), weight)
    added = make(2, channels, *spectral.output_size(shape))
    y, workspace = (
        torch.full_like(added, math.nan),
        torch.full((prepared.workspace_size,), math.nan),
    )
    prepared.run((spectral.source(x),), y, workspace, slope=0.0, bias=bias, added=added)
    expected = functional.conv2d(x.double(), weight.double(), bias.double(), stride, padding=1)
    expected = (expected + added).relu()
    assert (y - expected).norm() <= FORWARD * expected.norm()


@pytest.mark.parametrize("tile", [8, 16, 24])
@pytest.mark.parametrize("resample", ["none", "down"])
@pytest.mark.parametrize("norm", ["cvn", "svn", "none"])
@pytest.mark.parametrize("channels", [3, 16, 24])
def test_coupling_behind_a_convolution(level, channels, norm, resample, tile) -> None:
    make = Maker("channels-last")
    hidden, weight = make(2, 6, 21, 18), 0.2 * make(2 * channels, 6, 5, 5)
    shape = spectral.described(hidden, weight, resample)
    height, width = spectral.output_size(shape)
    x, matrix = make(2, channels, height, width), make(channels, channels)
    zeros = torch.zeros(channels)
    pixel_mean = make(height, width) if norm == "cvn" else None
    channel_mean = make(channels) if norm == "svn" else zeros
    prepared = spectral.PreparedConvolution(shape, planner.with_tile(shape, tile), weight)
    workspace = torch.full((prepared.coupling_workspace_size,), math.nan)
    z = x.clone(memory_format=torch.channels_last)
    prepared.run_coupling(
        (spectral.source(hidden),), z, pixel_mean, channel_mean, matrix, z, workspace, 2.0
    )
    params = oracle.conv2d(hidden.double(), weight.double(), resample, 0)
    mean = (zeros[:, None, None] if pixel_mean is None else pixel_mean) + channel_mean[
        :, None, None
    ]
    expected, _, _ = oracle.coupling_conv1x1(
        x.double(), params, mean[None].double(), matrix.double(), norm, "sample", 2.0
    )
    assert (z - expected).norm() <= FORWARD * expected.norm()


CAMERA_SIZES = [(1, 9, 13, 64), (2, 1, 1, 5), (1, 64, 31, 20), (2, 70, 1, 16)]
"""Batch, height, width, channels."""


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize("size", CAMERA_SIZES)
def test_camera_pixels_to_features(level, size: tuple[int, int, int, int], dtype) -> None:
    batch, height, width, channels = size
    top = 255 if dtype == torch.uint8 else 65535
    image = torch.randint(0, top + 1, (batch, height, width, 3), dtype=torch.int32).to(dtype)
    mean, std = torch.rand(3), 0.2 + torch.rand(3)
    pixels = ((image.double() / top - mean) / std).permute(0, 3, 1, 2)
    weight, bias = torch.randn(channels, 3, 7, 7), torch.randn(channels)
    kind = str(dtype).removeprefix("torch.")

    expected = functional.conv2d(pixels, weight[:, :, :1, :1].double())
    lift = weight[:, :, 0, 0].contiguous()
    y = torch.full_like(expected, math.nan, dtype=torch.float32)
    y = y.contiguous(memory_format=torch.channels_last)
    call(f"lift_{kind}", image, mean, std, lift, y, batch * height * width, channels)
    assert (y - expected).norm() <= FORWARD * expected.norm()

    stem = functional.conv2d(pixels, weight.double(), bias.double(), stride=2, padding=3).relu()
    expected = functional.max_pool2d(stem, 3, stride=2, padding=1)
    y = torch.full_like(expected, math.nan, dtype=torch.float32)
    y = y.contiguous(memory_format=torch.channels_last)
    call(f"resnet_stem_{kind}", image, mean, std, weight, bias, y, *size)
    assert (y - expected).norm() <= FORWARD * expected.norm()


def test_convolution_does_not_depend_on_the_number_of_threads() -> None:
    x, grad = torch.randn(2, 16, 50, 40), torch.randn(2, 32, 50, 40)
    weight = torch.randn(32, 16, 7, 7)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        y = cpu.conv2d(x, weight, "none", 32)
        results.append((y, *cpu.conv2d_backward(grad, x, weight, "none", 32, True, True)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_planner_prefers_what_is_faster() -> None:
    """Direct on a few pixels, in the frequency domain on an image; the memory is what is kept."""
    few, many = (planner.Convolution(1, 128, 128, n, n, 7) for n in (4, 256))
    assert planner.fastest(few).tile == 0
    assert planner.fastest(many).tile > 0
    chosen = planner.methods(many)[0]
    assert chosen.tile == 32
    prepared = spectral.PreparedConvolution(many, chosen, torch.randn(128, 128, 7, 7))
    assert 4 * prepared.spectra.numel() == chosen.weight_bytes
    assert 4 * prepared.workspace_size >= chosen.workspace_bytes
    with pytest.raises(InputError, match="has no transforms of 7: choose a tile of 0, 8"):
        planner.with_tile(many, 7)

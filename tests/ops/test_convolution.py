"""The CPU library's convolutions and what is fused to them, against the oracle in float64."""

import math
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pyramidflow.errors import InputError
from pyramidflow.ops.convolution import methods, spectral
from pyramidflow.ops.dispatch import steps
from pyramidflow.runtime.cpu.stem import lift_into, resnet_stem_into
from tests.support.backends import require_backend
from tests.support.cpu_cases import FORWARD, GRADIENT, LAYOUTS, Maker, compare

require_backend("cpu")
cpu, oracle = steps("cpu"), steps("reference")

pytestmark = pytest.mark.usefixtures("one_thread", "poisoned_memory")


@contextmanager
def chosen(tile: int):
    """Compute convolutions in tiles of one size where they can be, 0 for directly, −1 as usual."""

    def choose(shape):
        fits = tile in methods.tiles(shape)
        return methods.with_tile(shape, tile) if fits else usual(shape)

    usual = methods.fastest
    with mock.patch.object(methods, "fastest", usual if tile < 0 else choose):
        yield


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
        shape = methods.Convolution(batch, inputs, outputs, *size, kernel, resample)
        if tile > 0 and methods.spectral_kernel(shape) >= tile:
            continue
        grad = make(batch, outputs, *spectral.output_size(shape))
        with chosen(tile):
            compare("conv2d", (x, weight, resample))
            compare("conv2d_backward", (grad, x, weight, resample, True, True), GRADIENT)


CONVOLUTIONS = [
    (1, 1, 1, (1, 1), 7),
    (2, 3, 5, (9, 1), 3),
    (3, 16, 32, (5, 40), 7),
    (1, 20, 9, (33, 27), 5),
    (2, 17, 16, (13, 14), 1),
    (5, 4, 24, (8, 8), 7),
]
"""Batch, inputs, outputs, size, kernel: channels that leave lanes empty, images below a tile."""


@pytest.mark.parametrize("tile", [-1, 0, *methods.TILES])
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
    st.sampled_from(methods.TILES),
)
def test_convolution_of_any_shape(batch, inputs, outputs, size, kernel, tile) -> None:
    check_convolution(Maker("channels-last"), batch, inputs, outputs, size, kernel, tile)


def test_convolution_of_no_image() -> None:
    x, weight = torch.empty(0, 3, 4, 4), torch.ones(2, 3, 3, 3)
    assert cpu.conv2d(x, weight, "none").shape == (0, 2, 4, 4)
    grads = cpu.conv2d_backward(torch.empty(0, 2, 4, 4), x, weight, "none", True, True)
    assert torch.equal(grads[1], torch.zeros_like(weight))


def test_convolution_in_blocks_of_any_length() -> None:
    x = torch.randn(3, 16, 40, 50).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(8, 16, 7, 7)
    shape = spectral.described(x, weight, "none")
    method = methods.with_tile(shape, 16)
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
        shape, methods.with_tile(shape, 20), weight, channels=(5, 7)
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
    prepared = spectral.PreparedConvolution(shape, methods.with_tile(shape, 16), weight)
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
    prepared = spectral.PreparedConvolution(shape, methods.with_tile(shape, tile), weight)
    workspace = torch.full((prepared.coupling_workspace_size,), math.nan)
    z = x.clone(memory_format=torch.channels_last)
    prepared.run_coupling(
        (spectral.source(hidden),), z, pixel_mean, channel_mean, matrix, z, workspace, 2.0
    )
    params = oracle.conv2d(hidden.double(), weight.double(), resample)
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

    expected = functional.conv2d(pixels, weight[:, :, :1, :1].double())
    lift = weight[:, :, 0, 0].contiguous()
    y = torch.full_like(expected, math.nan, dtype=torch.float32)
    y = y.contiguous(memory_format=torch.channels_last)
    lift_into(image, mean, std, lift, y)
    assert (y - expected).norm() <= FORWARD * expected.norm()

    stem = functional.conv2d(pixels, weight.double(), bias.double(), stride=2, padding=3).relu()
    expected = functional.max_pool2d(stem, 3, stride=2, padding=1)
    y = torch.full_like(expected, math.nan, dtype=torch.float32)
    y = y.contiguous(memory_format=torch.channels_last)
    resnet_stem_into(image, mean, std, weight, bias, y)
    assert (y - expected).norm() <= FORWARD * expected.norm()


def test_convolution_does_not_depend_on_the_number_of_threads() -> None:
    x, grad = torch.randn(2, 16, 50, 40), torch.randn(2, 32, 50, 40)
    weight = torch.randn(32, 16, 7, 7)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with chosen(32):
            y = cpu.conv2d(x, weight, "none")
            results.append((y, *cpu.conv2d_backward(grad, x, weight, "none", True, True)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_fastest_method_is_that_of_the_size() -> None:
    """Direct on a few pixels, in the frequency domain on an image; the memory is what is kept."""
    few, many = (methods.Convolution(1, 128, 128, n, n, 7) for n in (4, 256))
    assert methods.fastest(few).tile == 0
    assert methods.fastest(many).tile > 0
    chosen = methods.methods(many)[0]
    assert chosen.tile == 32
    prepared = spectral.PreparedConvolution(many, chosen, torch.randn(128, 128, 7, 7))
    assert 4 * prepared.spectra.numel() == chosen.weight_bytes
    assert 4 * prepared.workspace_size >= chosen.workspace_bytes
    with pytest.raises(InputError, match="has no transforms of 7: choose a tile of 0, 8"):
        methods.with_tile(many, 7)

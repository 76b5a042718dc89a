"""Tensors in every layout, and the comparison of the CPU library with the oracle in float64."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.cpu import pixel_means_into
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.libraries.cpu import image_of
from tests.support.guarded import surrounded
from tests.support.maxima import assert_same_places
from tests.support.places import ROOT

cpu, oracle = steps("cpu"), steps("reference")


FORWARD, GRADIENT = 1e-5, 1e-4
"""Relative errors allowed by the design."""


on_cpu = pytest.mark.usefixtures("cpu_library", "one_thread", "poisoned_memory")
"""A test of the CPU library: on one thread, in memory that is NaN to begin with."""

TESTS = [
    ROOT / "tests" / "ops" / f"test_{name}.py"
    for name in ("pyramid", "coupling", "anomaly_map", "nearest", "normalize", "convolution", "cpu")
]
"""What compares the CPU library with the oracle."""

LAYOUTS = ["contiguous", "channels-last", "strided"]


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
    arguments = surrounded(arguments)
    results = getattr(cpu, name)(*arguments)
    expected = getattr(oracle, name)(*(double(a) for a in arguments))
    if isinstance(results, Tensor):
        results, expected = [results], [expected]
    for position, (got, want) in enumerate(zip(results, expected, strict=True)):
        assert got.shape == want.shape, (name, position)
        if not got.is_floating_point():
            assert_same_places(arguments[0], got, want)
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
    compare(
        "coupling_conv1x1_backward", (*backward[:2], weight, *backward[2:], *settings), GRADIENT
    )


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

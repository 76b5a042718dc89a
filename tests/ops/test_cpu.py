"""The CPU library as a whole: any shape, any number of threads, memory, its own functions."""

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
from pyramidflow.ops.coupling.schema import mean_shape as shape_of_mean
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.libraries.cpu import Image, function
from pyramidflow.ops.pyramid.cpu import pyramid_down_max_backward_into
from tests.support.backends import require_backend
from tests.support.cpu_cases import (
    GRADIENT,
    LAYOUTS,
    MODES,
    Maker,
    check_others,
    check_pyramid,
    compare,
    half,
)

cpu, oracle = steps("cpu"), steps("reference")


require_backend("cpu")


pytestmark = pytest.mark.usefixtures("one_thread", "poisoned_memory")


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
            backward = (x, log_det, weight, x, params, mean, False, volume_norm, "sample", 2.0)
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

"""Triton's kernels of the coupling against the oracle; ``test_triton.py`` runs them interpreted."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

triton = pytest.importorskip("triton", reason="triton is not installed")

import triton.language as tl  # noqa: E402

from pyramidflow.kernels import clamp  # noqa: E402
from pyramidflow.ops.tf32 import convolutions_with_tf32  # noqa: E402
from tests.support.operands import assert_log_det_left_out  # noqa: E402
from tests.support.triton_cases import (  # noqa: E402
    CLAMP,
    DEVICE,
    DTYPES,
    FORWARD,
    GRADIENT,
    LAYOUTS,
    MODES,
    RESIZES,
    blocks_chosen,
    compare,
    compare_coupling,
    comparison,
    coupling_arguments,
    draw,
    drawn,
    levels,
    oracle_of,
    ours_of,
    smallest_blocks,
)

NAMES = ("affine_coupling", "affine_coupling_inverse")


@comparison
@smallest_blocks
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("resize", "mode"),
    [
        *(("same", mode) for mode in MODES),
        *(("larger", mode) for mode in MODES),
        ("smaller", MODES[1]),
        ("smaller", MODES[3]),
    ],
)
def test_affine_coupling_equals_oracle(
    name: str, mode: tuple[str, str, str | None], resize: str
) -> None:
    torch.manual_seed(2)
    x, params, mean = coupling_arguments((2, 5, 4, 9), mode, resize)
    compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[3], MODES[6]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_affine_coupling_of_half_types_equals_oracle(
    name: str, mode: tuple[str, str, str | None], dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    x, params, mean = coupling_arguments((2, 5, 5, 14), mode, dtype=dtype)
    compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[2], MODES[5]], ids=str)
@pytest.mark.parametrize(
    ("resize", "layout"), [("same", "channels_last"), ("same", "strided"), ("larger", "strided")]
)
def test_affine_coupling_in_any_layout_equals_oracle(
    name: str, mode: tuple[str, str, str | None], resize: str, layout: str
) -> None:
    torch.manual_seed(4)
    x, params, mean = coupling_arguments((2, 18, 3, 5), mode, resize, layout=layout)
    compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize("mode", [MODES[0], MODES[2]], ids=str)
def test_affine_coupling_of_full_blocks_equals_oracle(mode: tuple[str, str, str | None]) -> None:
    torch.manual_seed(13)
    x, params, mean = coupling_arguments((2, 8, 16, 32), mode)
    compare_coupling(x, params, mean, mode, "affine_coupling")


@comparison
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[3], MODES[5]], ids=str)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 2, 1, 5), (0, 3, 4, 2)], ids=str)
def test_affine_coupling_of_tiny_levels_equals_oracle(
    name: str, mode: tuple[str, str, str | None], size: tuple[int, ...]
) -> None:
    torch.manual_seed(5)
    x, params, mean = coupling_arguments(size, mode)
    compare_coupling(x, params, mean, mode, name)


@comparison
@pytest.mark.parametrize("name", NAMES)
def test_log_det_beyond_float16_equals_oracle(name: str) -> None:
    torch.manual_seed(12)
    x = torch.zeros(1, 64, 16, 40, dtype=torch.float16)
    params = (20 + 20 * torch.rand(1, 128, 16, 40)).half()
    assert 1.8 * x.numel() > torch.finfo(torch.float16).max
    compare(name, x, params, None, "none", "sample", CLAMP, tolerance=FORWARD, log_det=2)


@comparison
@smallest_blocks
@pytest.mark.parametrize("mode", [MODES[0], MODES[3], MODES[6]], ids=str)
@pytest.mark.parametrize("size", [(2, 18, 5, 13), (1, 70, 3, 4), (1, 1, 1, 1)], ids=str)
def test_couplings_without_log_det_equals_oracle(
    size: tuple[int, ...], mode: tuple[str, str, str | None]
) -> None:
    torch.manual_seed(13)
    given = [x if x is None else x.to(DEVICE) for x in coupling_arguments(size, mode)]
    weight, rest = torch.randn(size[1], size[1], device=DEVICE), (*mode[:2], CLAMP)
    for name in NAMES:
        assert_log_det_left_out(ours_of, name, *given, *rest)
    assert_log_det_left_out(ours_of, "coupling_conv1x1", *given, weight, *rest)


FUSED = [((2, 18, 5, 13), mode, "same", torch.float32, "contiguous") for mode in MODES] + [
    ((2, 5, 5, 13), MODES[0], "larger", torch.float32, "contiguous"),
    ((2, 5, 5, 13), MODES[6], "larger", torch.float32, "channels_last"),
    ((2, 5, 5, 13), MODES[0], "same", torch.float32, "strided"),
    ((1, 70, 3, 4), MODES[0], "same", torch.float32, "contiguous"),
    ((1, 1, 1, 1), MODES[6], "same", torch.float32, "contiguous"),
    ((2, 18, 5, 13), MODES[0], "same", torch.float16, "contiguous"),
    ((2, 18, 5, 13), MODES[0], "same", torch.bfloat16, "channels_last"),
]


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "mode", "resize", "dtype", "layout"), FUSED)
def test_coupling_conv1x1_equals_oracle(
    size: tuple[int, ...],
    mode: tuple[str, str, str | None],
    resize: str,
    dtype: torch.dtype,
    layout: str,
) -> None:
    torch.manual_seed(7)
    x, params, mean = coupling_arguments(size, mode, resize, dtype, layout)
    weight = torch.randn(size[1], size[1]).to(dtype)
    rest = (*mode[:2], CLAMP)
    compare("coupling_conv1x1", x, params, mean, weight, *rest, tolerance=FORWARD, log_det=2)
    used = mean
    if used is None:
        used = oracle_of.coupling_conv1x1(x, params, None, weight, *rest)[1]
    grad = draw(*size, layout=layout, dtype=dtype)
    grad_log_det = torch.randn(size[0])
    arguments = (grad, grad_log_det, weight, x, params, used, mean is not None, *rest)
    compare("coupling_conv1x1_backward", *arguments, tolerance=GRADIENT)


WINDOWS = [
    *(((2, 3, 9, 13), 7, 1, "cvn"), ((1, 16, 5, 11), 7, 1, "svn"), ((3, 24, 4, 3), 3, 2, "cvn")),
    *(((1, 64, 3, 5), 3, 1, "none"), ((1, 64, 2, 3), 7, 2, "svn"), ((2, 16, 8, 9), 5, 2, "none")),
    *(((1, 70, 3, 3), 3, 1, "cvn"), ((1, 1, 1, 1), 1, 1, "cvn"), ((2, 3, 1, 66), 3, 1, "row")),
    ((0, 3, 4, 4), 3, 1, "cvn"),
]
BLOCKS = [(*window, torch.float32) for window in WINDOWS] + [
    ((2, 16, 6, 7), 7, 1, "cvn", torch.float16),
    ((1, 24, 5, 6), 3, 2, "svn", torch.bfloat16),
]
"""Size, window, stride, kind of mean, type."""


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "window", "stride", "kind", "dtype"), BLOCKS)
def test_conv_coupling_conv1x1_equals_oracle(
    size: tuple[int, ...], window: int, stride: int, kind: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(12)
    batch, channels, height, width = size
    # The larger level of an odd one may end behind its last taken pixel or on it.
    larger = (stride * height - (stride - 1) * (height % 2), stride * width)
    hidden = draw(batch, 2 * channels, *larger, dtype=dtype, layout="channels_last")
    kernel = draw(2 * channels, 2 * channels, window, window) / window / channels**0.5
    shapes = {"cvn": (1, 1, height, width), "svn": (1, channels, 1, 1), "none": (1, 1, 1, 1)}
    mean = draw(*shapes.get(kind, (batch, 1, 1, width)), dtype=dtype)
    weight = torch.linalg.qr(torch.randn(channels, channels)).Q.to(dtype)
    for layout in LAYOUTS if dtype == torch.float32 else LAYOUTS[1:2]:
        x = draw(*size, layout=layout, dtype=dtype)
        resample = "down" if stride == 2 else "none"
        arguments = (x, hidden, kernel.to(dtype), mean, weight, resample, CLAMP)
        with convolutions_with_tf32(False):
            compare("conv_coupling_conv1x1", *arguments, tolerance=FORWARD)


@comparison
@drawn(40)
@given(
    levels(18),
    st.sampled_from(NAMES),
    st.sampled_from(MODES),
    st.sampled_from(sorted(RESIZES)),
    st.integers(0, 23),
)
def test_drawn_couplings_equals_oracle(
    level: Any, name: str, mode: tuple[str, str, str | None], resize: str, blocks: int
) -> None:
    size, dtype, layout = level
    torch.manual_seed(blocks)
    arguments = coupling_arguments(size, mode, resize, dtype, layout)
    with blocks_chosen(blocks):
        compare_coupling(*arguments, mode, name)


@triton.jit
def _arctangent_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offset, clamp.arctangent(tl.load(x_ptr + offset)))


@comparison
def test_arctangent_equals_oracle() -> None:
    magnitude = torch.cat([torch.logspace(-30, 30, 2**15), torch.linspace(0, 3, 2**15)])
    x = torch.cat([magnitude, -magnitude]).float()
    y = torch.empty_like(x).to(DEVICE)
    _arctangent_kernel[(len(x) // 2**14,)](x.to(DEVICE), y, BLOCK=2**14)
    exact = x.double().atan()
    error = (y.cpu().double() - exact).abs() / exact.abs().clamp_min(1e-300)
    assert error.max() <= 5e-7
    special = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0]).repeat(4)
    y = torch.empty_like(special).to(DEVICE)
    _arctangent_kernel[(1,)](special.to(DEVICE), y, BLOCK=16)
    torch.testing.assert_close(y.cpu(), special.atan(), equal_nan=True)

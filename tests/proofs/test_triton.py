"""The Triton backend against the oracle.

The comparisons run in Triton's interpreter, in a process of its own (``triton_interpreter.py``). In
the process of the other tests they are ``gpu`` tests, on a CUDA device and compiled for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support import triton_interpreter

triton = pytest.importorskip("triton", reason="triton is not installed")

import triton.language as tl  # noqa: E402
from triton.runtime.autotuner import Autotuner  # noqa: E402

from pyramidflow import ops  # noqa: E402
from pyramidflow.kernels import coupling  # noqa: E402
from pyramidflow.ops.backend.launch import INTERPRETED  # noqa: E402
from pyramidflow.ops.dispatch import load, steps  # noqa: E402
from pyramidflow.ops.tf32 import convolutions_with_tf32  # noqa: E402
from tests.support.triton_cases import DEVICE, compare, draw, relative_error  # noqa: E402

ours_of, oracle_of = steps("triton"), steps("reference")
CLAMP = 2.0
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "strided")
COMPARISONS: list[str] = []

if INTERPRETED:
    triton_interpreter.mend()


def comparison(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs kernels: interpreted in the child process, else on a GPU."""
    COMPARISONS.append(test.__name__)
    if INTERPRETED:
        return test
    on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    marked: Callable[..., None] = pytest.mark.gpu(on_gpu(test))
    return marked


@pytest.fixture(autouse=True)
def _nan_filled_buffers() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def _smallest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that small shapes take several programs along every axis."""

    def smallest(tuner: Autotuner, _: Any) -> list[triton.Config]:
        def size(config: triton.Config) -> tuple[int, int]:
            blocks = config.kwargs.values()
            return int(np.prod(list(blocks))), max(blocks)

        return [min(tuner.configs, key=size)]

    if INTERPRETED:
        monkeypatch.setattr(Autotuner, "prune_configs", smallest)


smallest_blocks = pytest.mark.usefixtures("_smallest_blocks")


FORWARD = 1e-5
GRADIENT = 1e-4

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
EMPTY_LEVELS = [(0, 3, 8, 6), (2, 0, 5, 4)]


def _halved(size: tuple[int, ...]) -> tuple[int, ...]:
    return (*size[:2], (size[2] + 1) // 2, (size[3] + 1) // 2)


def _compare_pyramid_down(
    size: tuple[int, ...], dtype: torch.dtype, layout: str, reduction: str
) -> None:
    x = draw(*size, layout=layout, dtype=dtype)
    half = _halved(size)
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


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "dtype", "layout"), LEVELS)
def test_pyramid_up_equals_oracle(size: tuple[int, ...], dtype: torch.dtype, layout: str) -> None:
    torch.manual_seed(1)
    fine = draw(*size, layout=layout, dtype=dtype)
    coarse = draw(*_halved(size), layout=layout, dtype=dtype)
    compare("pyramid_residual", fine, coarse, tolerance=FORWARD)
    compare("pyramid_merge", coarse, fine, tolerance=FORWARD)
    compare("pyramid_up_backward", fine, tolerance=GRADIENT)


MODES = [
    ("cvn", "sample", None),
    ("cvn", "batch", None),
    ("svn", "sample", None),
    ("svn", "batch", None),
    ("none", "sample", None),
    ("cvn", "sample", "given"),
    ("svn", "sample", "given"),
]
RESIZES = {"same": lambda n: n, "larger": lambda n: 2 * n - 1, "smaller": lambda n: (n + 2) // 3}


def _coupling_arguments(
    size: tuple[int, ...],
    mode: tuple[str, str, str | None],
    resize: str = "same",
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
) -> tuple[Tensor, Tensor, Tensor | None]:
    batch, channels, height, width = size
    params_size = (RESIZES[resize](height), RESIZES[resize](width))
    x = draw(*size, layout=layout, dtype=dtype)
    params = 2 * draw(batch, 2 * channels, *params_size, dtype=dtype)
    params = draw(*params.shape, layout=layout, dtype=dtype).copy_(params)
    mean = None
    if mode[2]:
        shape = (1, 1, *params_size) if mode[0] == "cvn" else (1, channels, 1, 1)
        mean = draw(*shape, dtype=dtype)
    return x, params, mean


def _compare_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: tuple[str, str, str | None], name: str
) -> None:
    rest = (*mode[:2], CLAMP)
    compare(name, x, params, mean, *rest, tolerance=FORWARD, log_det=2)
    used = mean
    if used is None:
        used = getattr(oracle_of, name)(x, params, None, *rest)[1]
    grad = torch.empty_like(x).copy_(torch.randn(x.shape))
    # Expanded, as the gradient of a summed log-determinant is.
    grad_log_det = torch.full((1,), 0.7).expand(x.shape[0])
    compare(
        f"{name}_backward",
        grad,
        grad_log_det,
        x,
        params,
        used,
        mean is not None,
        *rest,
        tolerance=GRADIENT,
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
    x, params, mean = _coupling_arguments((2, 5, 4, 9), mode, resize)
    _compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[3], MODES[6]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_affine_coupling_of_half_types_equals_oracle(
    name: str, mode: tuple[str, str, str | None], dtype: torch.dtype
) -> None:
    torch.manual_seed(3)
    x, params, mean = _coupling_arguments((2, 5, 5, 14), mode, dtype=dtype)
    _compare_coupling(x, params, mean, mode, name)


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
    x, params, mean = _coupling_arguments((2, 18, 3, 5), mode, resize, layout=layout)
    _compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize("mode", [MODES[0], MODES[2]], ids=str)
def test_affine_coupling_of_full_blocks_equals_oracle(mode: tuple[str, str, str | None]) -> None:
    torch.manual_seed(13)
    x, params, mean = _coupling_arguments((2, 8, 16, 32), mode)
    _compare_coupling(x, params, mean, mode, "affine_coupling")


@comparison
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [MODES[0], MODES[3], MODES[5]], ids=str)
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 2, 1, 5), (0, 3, 4, 2)], ids=str)
def test_affine_coupling_of_tiny_levels_equals_oracle(
    name: str, mode: tuple[str, str, str | None], size: tuple[int, ...]
) -> None:
    torch.manual_seed(5)
    x, params, mean = _coupling_arguments(size, mode)
    _compare_coupling(x, params, mean, mode, name)


@comparison
@smallest_blocks
@pytest.mark.parametrize(
    ("size", "layout", "dtype"),
    [
        ((2, 18, 9, 19), "contiguous", torch.float32),
        ((2, 18, 5, 13), "channels_last", torch.float32),
        ((2, 18, 5, 13), "strided", torch.float32),
        ((2, 16, 8, 32), "contiguous", torch.float32),
        ((2, 18, 5, 13), "contiguous", torch.float16),
        ((1, 3, 5, 4), "channels_last", torch.bfloat16),
        ((3, 1, 1, 1), "contiguous", torch.float32),
    ],
)
def test_invertible_conv1x1_equals_oracle(
    size: tuple[int, ...], layout: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(6)
    y = draw(*size, layout=layout, dtype=dtype)
    weight = torch.randn(size[1], size[1]).to(dtype)
    grad = draw(*size, layout=layout, dtype=dtype)
    compare("invertible_conv1x1", y, weight, tolerance=FORWARD)
    compare("invertible_conv1x1", y, weight.T, tolerance=FORWARD)
    compare("invertible_conv1x1_backward", grad, y, weight, tolerance=GRADIENT)


@comparison
@pytest.mark.parametrize("name", NAMES)
def test_log_det_beyond_float16_equals_oracle(name: str) -> None:
    torch.manual_seed(12)
    x = torch.zeros(1, 64, 16, 40, dtype=torch.float16)
    params = (20 + 20 * torch.rand(1, 128, 16, 40)).half()
    assert 1.8 * x.numel() > torch.finfo(torch.float16).max
    compare(name, x, params, None, "none", "sample", CLAMP, tolerance=FORWARD, log_det=2)


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
    x, params, mean = _coupling_arguments(size, mode, resize, dtype, layout)
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
    ((2, 3, 9, 13), 7, 1, "cvn", torch.float32),
    ((1, 16, 5, 11), 7, 1, "svn", torch.float32),
    ((3, 24, 4, 3), 3, 2, "cvn", torch.float32),
    ((1, 64, 3, 5), 3, 1, "none", torch.float32),
    ((1, 64, 2, 3), 7, 2, "svn", torch.float32),
    ((2, 16, 8, 9), 5, 2, "none", torch.float32),
    ((1, 70, 3, 3), 3, 1, "cvn", torch.float32),
    ((1, 1, 1, 1), 1, 1, "cvn", torch.float32),
    ((2, 3, 1, 66), 3, 1, "row", torch.float32),
    ((0, 3, 4, 4), 3, 1, "cvn", torch.float32),
    ((2, 16, 6, 7), 7, 1, "cvn", torch.float16),
    ((1, 24, 5, 6), 3, 2, "svn", torch.bfloat16),
]


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "window", "stride", "kind", "dtype"), WINDOWS)
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


PYRAMIDS = [
    ((2, 18, 9, 14), 3, 1, torch.float32, "contiguous"),
    ((3, 5, 8, 11), 2, 3, torch.float32, "channels_last"),
    ((2, 5, 8, 11), 2, 1, torch.float32, "strided"),
    ((1, 2, 3, 1), 1, 1, torch.float32, "contiguous"),
    ((0, 2, 4, 4), 2, 1, torch.float32, "contiguous"),
    ((2, 5, 9, 14), 2, 1, torch.float16, "contiguous"),
    ((2, 5, 9, 14), 2, 1, torch.bfloat16, "channels_last"),
]


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "levels", "templates", "dtype", "layout"), PYRAMIDS)
def test_anomaly_map_equals_oracle(
    size: tuple[int, ...], levels: int, templates: int, dtype: torch.dtype, layout: str
) -> None:
    torch.manual_seed(8)
    sizes = [size]
    for _ in range(levels - 1):
        sizes.append(_halved(sizes[-1]))
    latents = [draw(*s, layout=layout, dtype=dtype) for s in sizes]
    template = [draw(templates, *s[1:], layout=layout, dtype=dtype) for s in sizes]
    if size[0]:
        latents[0][0, 0, 0, 0] = template[0][0, 0, 0, 0]  # no gradient where nothing differs
    grad = torch.randn(size[0], *size[2:]).to(dtype)
    compare("anomaly_map", latents, template, tolerance=FORWARD)
    compare("anomaly_map_backward", grad, latents, template, tolerance=GRADIENT)
    spread = [draw(1, *s[1:], layout=layout, dtype=dtype).abs() for s in sizes]
    shift = [draw(*size[:2], 1, 1, layout=layout, dtype=torch.float32) for _ in sizes]
    for operands in ((spread, None), (None, shift), (spread, shift)):
        compare("anomaly_map", latents, template, *operands, tolerance=FORWARD)
        compare("anomaly_map", latents, template, *operands, 1, tolerance=FORWARD)
    compare("anomaly_map", latents, template, None, None, 2, tolerance=FORWARD)


@comparison
@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(
    "size", [(2, 17, 31, 3), (2, 16, 32, 3), (1, 1, 1, 3), (0, 4, 4, 3)], ids=str
)
@pytest.mark.parametrize("planar", [False, True])
def test_normalize_image_equals_oracle(
    kind: torch.dtype, size: tuple[int, ...], planar: bool
) -> None:
    torch.manual_seed(9)
    image = torch.randint(0, torch.iinfo(kind).max + 1, size).to(kind)
    if planar:
        image = image.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    mean, std = torch.rand(3), torch.rand(3) + 0.1
    expected = oracle_of.normalize_image(image, mean.double(), std.double(), torch.float64)
    for dtype in DTYPES:
        ours = ours_of.normalize_image(image.to(DEVICE), mean.to(DEVICE), std.to(DEVICE), dtype)
        assert ours.shape == expected.shape
        assert ours.dtype == dtype
        assert ours.is_contiguous()
        if expected.numel():
            # One rounding to the result's type, on values that the float32 arithmetic has to 1e-6.
            limit = 1e-6 + (torch.finfo(dtype).eps if dtype != torch.float32 else 0)
            assert relative_error(ours, expected) <= limit


@comparison
@pytest.mark.parametrize("size", EMPTY_LEVELS, ids=str)
def test_empty_levels_equals_oracle(size: tuple[int, ...]) -> None:
    x, half = torch.randn(size), torch.randn(_halved(size))
    index = half.to(torch.uint8)
    for reduction in ("nearest", "max"):
        assert ours_of.pyramid_down(x.to(DEVICE), reduction)[0].shape == half.shape
        arguments = (half.to(DEVICE), index.to(DEVICE), *size[2:], reduction)
        assert ours_of.pyramid_down_backward(*arguments).shape == size
    assert ours_of.pyramid_merge(half.to(DEVICE), x.to(DEVICE)).shape == size
    assert ours_of.pyramid_up_backward(x.to(DEVICE)).shape == half.shape
    weight = torch.randn(size[1], size[1])
    assert ours_of.invertible_conv1x1(x.to(DEVICE), weight.to(DEVICE)).shape == size
    _, grad = ours_of.invertible_conv1x1_backward(x.to(DEVICE), x.to(DEVICE), weight.to(DEVICE))
    assert torch.equal(grad.cpu(), torch.zeros_like(weight))


@comparison
@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_default_blocks_equals_oracle(layout: str) -> None:
    torch.manual_seed(10)
    size = (1, 6, 10, 11)
    x, half = draw(*size, layout=layout), draw(*_halved(size), layout=layout)
    for reduction in ("nearest", "max"):
        compare("pyramid_down", x, reduction, tolerance=FORWARD)
        index = oracle_of.pyramid_down(x, reduction)[1]
        arguments = (half, index, *size[2:], reduction)
        compare("pyramid_down_backward", *arguments, tolerance=GRADIENT)
    compare("pyramid_residual", x, half, tolerance=FORWARD)
    compare("pyramid_up_backward", x, tolerance=GRADIENT)
    for mode in (MODES[0], MODES[2]):
        arguments = _coupling_arguments(size, mode, layout=layout)
        _compare_coupling(*arguments, mode, "affine_coupling")
    weight = torch.randn(6, 6)
    compare("invertible_conv1x1", x, weight, tolerance=FORWARD)
    compare("invertible_conv1x1_backward", x, x, weight, tolerance=GRADIENT)
    template = draw(1, *size[1:], layout=layout)
    compare("anomaly_map", [x], [template], tolerance=FORWARD)


@comparison
@pytest.mark.parametrize("resize", ["same", "larger"])
def test_public_functions_equals_oracle(resize: str) -> None:
    """The whole way: checks, dispatch, kernels, and back through the registered gradients."""
    torch.manual_seed(11)
    size = (2, 3, 5, 6)
    x, params, _ = _coupling_arguments(size, MODES[0], resize)
    weight = torch.randn(3, 3)

    def run(x: Tensor, params: Tensor, weight: Tensor) -> list[Tensor]:
        leaves = [leaf.detach().clone().requires_grad_() for leaf in (x, params, weight)]
        z, mean, log_det = ops.coupling_conv1x1(leaves[0], leaves[1], leaves[2])
        y, _ = ops.affine_coupling_inverse(z, leaves[1], mean)
        coarse = ops.pyramid_down(y, "max")
        residual = ops.pyramid_residual(y, coarse)
        merged = ops.pyramid_merge(ops.invertible_conv1x1(coarse, leaves[2]), residual)
        contrast = ops.anomaly_map([merged, coarse], [merged.detach() * 0, coarse.detach() * 0])
        loss = contrast.square().sum() + log_det.sum()
        return [contrast.detach(), *torch.autograd.grad(loss, leaves)]

    with ops.use_backend("triton"):
        actual = run(x.to(DEVICE), params.to(DEVICE), weight.to(DEVICE))
    with ops.use_backend("reference"):
        expected = run(x.double(), params.double(), weight.double())
    for ours, exact in zip(actual, expected, strict=True):
        assert relative_error(ours, exact) <= GRADIENT


@st.composite
def levels(draw: st.DrawFn, most_channels: int) -> tuple[tuple[int, ...], torch.dtype, str]:
    """Shape, type and layout of a level; a half type's has room for its rounding to average out."""
    dtype = draw(st.sampled_from(DTYPES))
    least = 1 if dtype == torch.float32 else 4
    sides = st.integers(least, 12), st.integers(least, 20)
    channels = st.integers(min(least, 2), most_channels)
    size = draw(st.tuples(st.integers(0, 5), channels, *sides))
    return size, dtype, draw(st.sampled_from(LAYOUTS))


@contextmanager
def _blocks(choice: int) -> Iterator[None]:
    """Launch every kernel with one of its configurations, fitting or not."""

    def run(tuner: Autotuner, *arguments: Any, **constants: Any) -> Any:
        config = tuner.configs[choice % len(tuner.configs)]
        return tuner.fn.run(*arguments, **constants, **config.all_kwargs())

    with mock.patch.object(Autotuner, "run", run):
        yield


def drawn(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],  # shrinking takes minutes in the interpreter
        suppress_health_check=list(HealthCheck),
    )


@comparison
@drawn(10)
@given(levels(5), st.sampled_from(["nearest", "max"]), st.integers(0, 23))
def test_drawn_pyramids_equals_oracle(level: Any, reduction: str, blocks: int) -> None:
    size, dtype, layout = level
    torch.manual_seed(blocks)
    fine = draw(*size, layout=layout, dtype=dtype)
    coarse = draw(*_halved(size), layout=layout, dtype=dtype)
    with _blocks(blocks):
        _compare_pyramid_down(size, dtype, layout, reduction)
        compare("pyramid_residual", fine, coarse, tolerance=FORWARD)
        compare("pyramid_merge", coarse, fine, tolerance=FORWARD)
        compare("pyramid_up_backward", fine, tolerance=GRADIENT)


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
    arguments = _coupling_arguments(size, mode, resize, dtype, layout)
    with _blocks(blocks):
        _compare_coupling(*arguments, mode, name)


@comparison
@drawn(10)
@given(levels(18), st.sampled_from(MODES), st.integers(1, 3), st.booleans(), st.integers(0, 23))
def test_drawn_convolutions_and_maps_equals_oracle(
    level: Any, mode: tuple[str, str, str | None], count: int, one_template: bool, blocks: int
) -> None:
    size, dtype, layout = level
    torch.manual_seed(blocks)
    x, params, mean = _coupling_arguments(size, mode, "same", dtype, layout)
    weight = torch.randn(size[1], size[1]).to(dtype)
    sizes = [size]
    for _ in range(count - 1):
        sizes.append(_halved(sizes[-1]))
    latents = [draw(*s, layout=layout, dtype=dtype) for s in sizes]
    templates = 1 if one_template else size[0]
    template = [draw(templates, *s[1:], layout=layout, dtype=dtype) for s in sizes]
    grad = torch.randn(size[0], *size[2:]).to(dtype)
    fused = (x, params, mean, weight, *mode[:2], CLAMP)
    with _blocks(blocks):
        compare("invertible_conv1x1", x, weight, tolerance=FORWARD)
        compare("invertible_conv1x1_backward", x, x, weight, tolerance=GRADIENT)
        compare("coupling_conv1x1", *fused, tolerance=FORWARD, log_det=2)
        compare("anomaly_map", latents, template, tolerance=FORWARD)
        compare("anomaly_map_backward", grad, latents, template, tolerance=GRADIENT)


@triton.jit
def _arctangent_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    offset = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + offset, coupling.arctangent(tl.load(x_ptr + offset)))


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


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    return triton_interpreter.outcomes(__file__, "equals_oracle", report)


@pytest.mark.skipif(INTERPRETED, reason="this is the process with the interpreter")
@pytest.mark.parametrize("test", COMPARISONS)
def test_in_the_interpreter(test: str, interpreted: dict[str, list[tuple[str, str]]]) -> None:
    assert not triton_interpreter.failures(interpreted[test])


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs anywhere")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_device_the_status_says_what_is_missing() -> None:
    status = load("triton").status()
    assert not status.available
    assert "device" in status.reason

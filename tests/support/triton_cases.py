"""Comparisons of the Triton backend with the oracle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor
from triton.runtime.autotuner import Autotuner

from pyramidflow.kernels.tuning import INTERPRETED
from pyramidflow.ops import allocation
from pyramidflow.ops.dispatch import steps
from tests.support import triton_interpreter
from tests.support.devices import moved
from tests.support.guarded import guarded_memory, surrounded
from tests.support.maxima import assert_same_places

ours_of, oracle_of = steps("triton"), steps("reference")

DEVICE = "cpu" if INTERPRETED else "cuda"
FORWARD, GRADIENT = 1e-5, 1e-4
CLAMP = 2.0
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "strided")

COMPARISONS: list[str] = []
"""Names of the tests that run kernels, of every module that was imported."""

if INTERPRETED:
    triton_interpreter.mend()


def comparison(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs kernels: interpreted in the child process, else on a GPU."""
    COMPARISONS.append(test.__name__)
    test = pytest.mark.usefixtures("nan_filled_buffers")(test)
    if INTERPRETED:
        return test
    on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    marked: Callable[..., None] = pytest.mark.gpu(on_gpu(test))
    return marked


smallest_blocks = pytest.mark.usefixtures("smallest_blocks")


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    return (*size[:2], (size[2] + 1) // 2, (size[3] + 1) // 2)


def pyramid_of(size: tuple[int, ...], levels: int) -> list[tuple[int, ...]]:
    """Sizes of the levels, finest first."""
    sizes = [size]
    for _ in range(levels - 1):
        sizes.append(halved(sizes[-1]))
    return sizes


def draw(*size: int, layout: str = "contiguous", dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers in one of the layouts; ``strided`` is neither dense nor in order."""
    x = torch.randn(size).to(dtype)
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        wide = torch.zeros((*size[:2], size[3] + 1, 2 * size[2]), dtype=dtype)
        view = wide.transpose(2, 3)[:, :, ::2, 1:]
        view.copy_(x)
        return view
    return x


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    return [_map(function, v) for v in value] if isinstance(value, list | tuple) else value


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _results(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, list | tuple) else [value]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    difference = actual.cpu().double() - expected.double()
    return float(difference.norm() / expected.double().norm().clamp_min(1e-300))


def compare(name: str, *arguments: Any, tolerance: float, log_det: int | None = None) -> None:
    """Compare every result of an operation with the oracle's in float64.

    float32 within ``tolerance``; half types within twice the error of plain PyTorch. The result
    number ``log_det`` is a sum over a sample that may cancel: its error is measured per element.
    """
    arguments = surrounded(arguments)
    first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
    with guarded_memory():
        actual = _results(getattr(ours_of, name)(*moved(arguments, DEVICE)))
    oracle = _results(getattr(oracle_of, name)(*_map(_double, arguments)))
    plain = _results(getattr(oracle_of, name)(*arguments))
    assert len(actual) == len(oracle)
    for number, (ours, exact, theirs) in enumerate(zip(actual, oracle, plain, strict=True)):
        assert ours.shape == exact.shape
        assert ours.dtype == theirs.dtype
        if exact.dim() == 4:
            assert ours.is_contiguous(memory_format=allocation.memory_format(ours))
        if not exact.is_floating_point():
            assert_same_places(first, ours.cpu(), exact)
            continue
        if not exact.numel() or exact.isnan().all():
            continue
        if number == log_det:
            elements = first[0].numel()
            error = float((ours.cpu().double() - exact).abs().max()) / elements
            reference_error = float((theirs.double() - exact).abs().max()) / elements
            limit = 1e-6
        else:
            error = relative_error(ours, exact)
            reference_error = relative_error(theirs, exact)
            limit = tolerance
        if ours.dtype != torch.float32:
            limit = max(limit, 2 * reference_error)
        assert error <= limit, f"result {number} of {name}: error {error:.2e}, limit {limit:.2e}"


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
def blocks_chosen(choice: int) -> Iterator[None]:
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


MODES = [
    ("cvn", "sample", None),
    ("cvn", "batch", None),
    ("svn", "sample", None),
    ("svn", "batch", None),
    ("none", "sample", None),
    ("cvn", "sample", "given"),
    ("svn", "sample", "given"),
]
"""Kind of normalisation, statistics, and whether the mean is given."""

RESIZES = {"same": lambda n: n, "larger": lambda n: 2 * n - 1, "smaller": lambda n: (n + 2) // 3}
"""Sizes of the parameters from those of their level."""


def coupling_arguments(
    size: tuple[int, ...],
    mode: tuple[str, str, str | None],
    resize: str = "same",
    dtype: torch.dtype = torch.float32,
    layout: str = "contiguous",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A level, its parameters, and the mean if one is given."""
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


def compare_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: tuple[str, str, str | None], name: str
) -> None:
    """Compare a coupling, or its inverse, and its gradient."""
    rest = (*mode[:2], CLAMP)
    compare(name, x, params, mean, *rest, tolerance=FORWARD, log_det=2)
    used = mean
    if used is None:
        used = getattr(oracle_of, name)(x, params, None, *rest)[1]
    grad = torch.empty_like(x).copy_(torch.randn(x.shape))
    # Expanded, as the gradient of a summed log-determinant is.
    grad_log_det = torch.full((1,), 0.7).expand(x.shape[0])
    arguments = (grad, grad_log_det, x, params, used, mean is not None, *rest)
    compare(f"{name}_backward", *arguments, tolerance=GRADIENT)

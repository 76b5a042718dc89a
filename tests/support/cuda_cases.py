"""Comparisons of the CUDA kernels with the oracle, on the host or on a device.

Every operation is called with the same arguments in the CUDA backend and, in float64, in the
reference backend; results that the kernels own start as NaN. Run as a program with the path of a
host library, it makes the smaller half of the comparisons: what runs under the sanitizers.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.coupling.schema import log_det_dtype
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.op import OPS
from tests.support import cuda_host
from tests.support.devices import moved
from tests.support.maxima import assert_same_places
from tests.support.operands import assert_log_det_left_out

ours_of, oracle_of = steps("cuda"), steps("reference")

FORWARD_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
TYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = ("contiguous", "channels_last", "strided", "misaligned")
CLAMP = 2.0
UNINITIALISED = allocation.empty
FAKES = {op.name: op.taking_schema(op.fake) for op in OPS.values()}

SHAPES = (
    (2, 3, 17, 13),
    (1, 8, 16, 24),
    (1, 1, 1, 1),
    (3, 20, 9, 33),
    (1, 5, 1, 7),
    (1, 4, 6, 1),
    (0, 4, 6, 6),
)
PYRAMID_SHAPES = (*SHAPES, (1, 2, 40, 144), (2, 17, 21, 19), (1, 32, 16, 16))
FEW_SHAPES = ((2, 3, 7, 5), (2, 16, 4, 8))


def laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        return torch.stack([x, x], -1)[..., 0]
    if layout == "misaligned":
        flat = x.new_zeros(x.numel() + 1)
        flat[1:] = x.flatten()
        return flat[1:].view(x.shape)
    return x


def random(shape: Sequence[int], dtype: torch.dtype, layout: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1000003 + sum(shape))
    return laid_out(torch.randn(shape, generator=generator).to(dtype), layout)


def check(op: str, *arguments: Any, device: str = "cpu", scales: Any = ()) -> Any:
    """Compare one call with the oracle; give back the results in the arguments' type.

    ``scales[k]`` is the least size by which the error of result ``k`` is divided, for results that
    are sums of terms which cancel.
    """
    with mock.patch.object(allocation, "empty", _nan_filled):
        actual = _outputs(getattr(ours_of, op)(*moved(arguments, device)))
    exact = _outputs(getattr(oracle_of, op)(*_converted(arguments, torch.float64)))
    promised = _outputs(FAKES[op](*arguments))
    assert len(actual) == len(exact) == len(promised), op
    plain = []
    if actual[0].dtype != torch.float32:
        plain = _outputs(getattr(oracle_of, op)(*arguments))
    tolerance = GRADIENT_TOLERANCE if op.endswith("backward") else FORWARD_TOLERANCE
    for k, (ours, oracle) in enumerate(zip(actual, exact, strict=True)):
        assert ours.shape == oracle.shape == promised[k].shape, (op, k, ours.shape, oracle.shape)
        assert ours.dtype == promised[k].dtype, (op, k)
        assert allocation.memory_format(ours) == allocation.memory_format(oracle), (op, k)
        if not oracle.is_floating_point():
            assert_same_places(arguments[0], ours.cpu(), oracle)
            continue
        scale = scales[k] if k < len(scales) else 0.0
        error = _relative_error(ours.cpu(), oracle, scale)
        bound = tolerance
        if ours.dtype != torch.float32:
            bound = 2 * _relative_error(plain[k], oracle, scale)
        assert error <= bound, (op, k, tuple(oracle.shape), ours.dtype, error, bound)
    return [a.cpu() for a in actual]


def _relative_error(actual: Tensor, exact: Tensor, scale: float) -> float:
    if exact.numel() > 0 and exact.isnan().all():  # a mean of nothing
        return 0.0 if actual.isnan().all() else torch.inf
    size = max(exact.double().norm().item(), scale) or 1.0
    return (actual.double() - exact).norm().item() / size


def _nan_filled(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    # Without guards: the sanitizers find what is touched beside an allocation, if it has that size.
    result = UNINITIALISED(shape, like, dtype)
    return result.fill_(torch.nan if result.is_floating_point() else 255)


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _converted(arguments: Any, dtype: torch.dtype) -> list[Any]:
    def convert(a: Any) -> Any:
        if isinstance(a, Tensor):
            return a.to(dtype) if a.is_floating_point() else a
        if isinstance(a, torch.dtype):
            return dtype
        return _converted(a, dtype) if isinstance(a, list) else a

    return [convert(a) for a in arguments]


def pyramid_down(shape, reduction, dtype, layout, device="cpu"):
    x = random(shape, dtype, layout)
    y, index = check("pyramid_down", x, reduction, device=device)
    grad = random(y.shape, dtype, layout, seed=1)
    check("pyramid_down_backward", grad, index, *shape[2:], reduction, device=device)


def pyramid_up(shape, dtype, layout, device="cpu"):
    fine = random(shape, dtype, layout)
    half = (*shape[:2], (shape[2] + 1) // 2, (shape[3] + 1) // 2)
    coarse = random(half, dtype, layout, seed=1)
    check("pyramid_residual", fine, coarse, device=device)
    check("pyramid_merge", coarse, fine, device=device)
    check("pyramid_up_backward", fine, device=device)


def coupling_modes() -> list[tuple[str, str, str]]:
    """Kind of normalisation, statistics, and how the mean comes: taken, or given in a shape."""
    taken = [
        (norm, statistics, "taken")
        for norm, statistics in itertools.product(("cvn", "svn"), ("sample", "batch"))
    ]
    given = [("cvn", "sample", "1"), ("cvn", "batch", "pixels"), ("svn", "sample", "full")]
    return [*taken, *given, ("svn", "batch", "channels"), ("none", "sample", "taken")]


def coupling_arguments(shape, params_size, mode, dtype, layout):
    norm, statistics, mean_kind = mode
    batch, channels, _, _ = shape
    x = random(shape, dtype, layout)
    params = random((batch, 2 * channels, *params_size), dtype, layout, seed=1)
    mean_shapes = {
        "1": (1, 1, 1, 1),
        "pixels": (1, 1, *params_size),
        "channels": (1, channels, 1, 1),
        "full": (batch, channels, *params_size),
    }
    mean = None
    if mean_kind != "taken":
        mean = random(mean_shapes[mean_kind], dtype, layout, seed=2)
    return x, params, mean, norm, statistics


def log_scale_size(shape, params, mean, settings):
    """``Σ |s|``, from the factor that the oracle gives a level of ones when the shift is zero."""
    s0, t = params.double().chunk(2, 1)
    ones, silent = torch.ones(shape, dtype=torch.float64), torch.cat([s0, 0 * t], 1)
    given = None if mean is None else mean.double()
    return oracle_of.affine_coupling(ones, silent, given, *settings)[0].log().abs().sum().item()


def affine_coupling(shape, params_size, mode, dtype, layout, device="cpu"):
    x, params, mean, *settings = coupling_arguments(shape, params_size, mode, dtype, layout)
    settings = (*settings, CLAMP)
    scales = (0.0, 0.0, log_scale_size(shape, params, mean, settings))
    for op in ("affine_coupling", "affine_coupling_inverse"):
        _, used, _ = check(op, x, params, mean, *settings, device=device, scales=scales)
        grad = random(shape, dtype, layout, seed=3)
        grad_log_det = random((shape[0],), log_det_dtype(x), "contiguous", seed=4)
        check(
            f"{op}_backward",
            grad,
            grad_log_det,
            x,
            params,
            used if mean is None else mean,
            mean is not None,
            *settings,
            device=device,
        )


def coupling_conv1x1(shape, params_size, mode, dtype, layout, device="cpu"):
    x, params, mean, *settings = coupling_arguments(shape, params_size, mode, dtype, layout)
    settings = (*settings, CLAMP)
    weight = random((shape[1], shape[1]), dtype, "contiguous", seed=5)
    scales = (0.0, 0.0, log_scale_size(shape, params, mean, settings))
    _, used, _ = check(
        "coupling_conv1x1", x, params, mean, weight, *settings, device=device, scales=scales
    )
    check(
        "coupling_conv1x1_backward",
        random(shape, dtype, layout, seed=3),
        random((shape[0],), log_det_dtype(x), "contiguous", seed=4),
        weight,
        x,
        params,
        used if mean is None else mean,
        mean is not None,
        *settings,
        device=device,
    )


def without_log_det(shape, params_size, mode, dtype, layout):
    x, params, mean, *settings = coupling_arguments(shape, params_size, mode, dtype, layout)
    weight = random((shape[1], shape[1]), dtype, "contiguous", seed=5)
    settings = (*settings, CLAMP)
    for op in ("affine_coupling", "affine_coupling_inverse"):
        assert_log_det_left_out(ours_of, op, x, params, mean, *settings)
    assert_log_det_left_out(ours_of, "coupling_conv1x1", x, params, mean, weight, *settings)


def invertible_conv1x1(shape, dtype, layout, device="cpu"):
    y = random(shape, dtype, layout)
    weight = random((shape[1], shape[1]), dtype, "contiguous", seed=1)
    check("invertible_conv1x1", y, weight, device=device)
    grad = random(shape, dtype, layout, seed=2)
    check("invertible_conv1x1_backward", grad, y, weight, device=device)


def anomaly_map(shape, levels, template_batch, dtype, layout, device="cpu"):
    sizes = [shape]
    for _ in range(levels - 1):
        _, _, height, width = sizes[-1]
        sizes.append((*shape[:2], (height + 1) // 2, (width + 1) // 2))
    latents = [random(size, dtype, layout, seed=k) for k, size in enumerate(sizes)]
    template = [
        random((template_batch, *size[1:]), dtype, "contiguous", seed=10 + k)
        for k, size in enumerate(sizes)
    ]
    check("anomaly_map", latents, template, None, None, device=device)
    spread = [
        random((1, *size[1:]), dtype, layout, seed=30 + k).abs() for k, size in enumerate(sizes)
    ]
    shift = [
        random((*shape[:2], 1, 1), torch.float32, "contiguous", seed=40 + k) for k in range(levels)
    ]
    check("anomaly_map", latents, template, spread, None, device=device)
    check("anomaly_map", latents, template, None, shift, device=device)
    check("anomaly_map", latents, template, spread, shift, device=device)
    check("anomaly_map", latents, template, None, None, 1, device=device)
    check("anomaly_map", latents, template, spread, shift, 2, device=device)
    grad = random((shape[0], *shape[2:]), dtype, "contiguous", seed=20)
    check("anomaly_map_backward", grad, latents, template, device=device)


def normalize_image(shape, pixel_type, dtype, offset=0, device="cpu"):
    generator = torch.Generator().manual_seed(sum(shape))
    limit = torch.iinfo(pixel_type).max + 1
    count = shape[0] * shape[1] * shape[2] * 3
    flat = torch.randint(0, limit, (count + offset,), generator=generator).to(pixel_type)
    image = flat[offset:].view(*shape, 3)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=dtype)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=dtype)
    check("normalize_image", image, mean, std, dtype, device=device)


def params_sizes(shape):
    height, width = shape[2:]
    return ((height, width), (2 * height, max(2 * width - 1, 1)), ((height + 1) // 2, width))


def small_set(device="cpu") -> int:
    """Every operation, type and layout on few shapes; the number of cases."""
    count = 0
    for dtype, layout, shape in itertools.product(TYPES, LAYOUTS, FEW_SHAPES):
        if dtype != torch.float32 and layout in ("strided", "misaligned"):
            continue
        for reduction in ("nearest", "max"):
            pyramid_down(shape, reduction, dtype, layout, device)
        pyramid_up(shape, dtype, layout, device)
        invertible_conv1x1(shape, dtype, layout, device)
        anomaly_map(shape, 2, 1, dtype, layout, device)
        modes = coupling_modes() if dtype == torch.float32 else coupling_modes()[:3]
        for mode in modes:
            for size in params_sizes(shape)[:2]:
                affine_coupling(shape, size, mode, dtype, layout, device)
                count += 1
        coupling_conv1x1(shape, shape[2:], modes[0], dtype, layout, device)
        if device == "cpu":
            without_log_det(shape, shape[2:], modes[0], dtype, layout)
        count += 6
    for pixel_type, dtype, offset in itertools.product((torch.uint8, torch.uint16), TYPES, (0, 1)):
        normalize_image((2, 4, 8), pixel_type, dtype, offset, device)
        normalize_image((1, 3, 7), pixel_type, dtype, offset, device)
        count += 2
    return count


def every_kernel(channels: int) -> None:
    """Launch each kernel in every type and layout, on a small level of so many channels."""
    shape = (1, channels, 4, 16)
    for dtype, layout in itertools.product(TYPES, LAYOUTS[:2]):
        for reduction in ("nearest", "max"):
            pyramid_down(shape, reduction, dtype, layout)
        pyramid_up(shape, dtype, layout)
        invertible_conv1x1(shape, dtype, layout)
        for levels in (1, 2):
            anomaly_map(shape, levels, 1, dtype, layout)
        for mode in coupling_modes():
            affine_coupling(shape, shape[2:], mode, dtype, layout)
        coupling_conv1x1(shape, shape[2:], coupling_modes()[0], dtype, layout)
        for pixel_type in (torch.uint8, torch.uint16):
            normalize_image(shape[::3] + shape[3:], pixel_type, dtype)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with cuda_host.library(Path(sys.argv[1])):
        print(f"{small_set()} cases equal the oracle")

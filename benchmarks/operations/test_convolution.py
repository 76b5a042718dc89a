"""The planner's choice for the network's convolutions beside the machine's library, oneDNN.

Both get channels-last images. ``prepared`` is inference: the weights were transformed when the
runtime was made. ``forward``, ``image gradient`` and ``weight gradient`` are training: they are
transformed every time. A convolution behind an up-sampling is compared with up-sampling, then
convolving.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks.conftest import Scale
from benchmarks.harness.turns import compare
from pyramidflow.ops import dispatch
from pyramidflow.ops.convolution import direct, methods, spectral
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.runtime.cpu.network_plan import make_plan

KERNEL = 7
CHANNELS = {"baseline": (16, 32), "ResNet": (64, 128)}
SHAPES = [
    Convolution(1, inputs, wide, side, side, KERNEL)
    for narrow, wide in CHANNELS.values()
    for inputs in (narrow, wide)
    for side in (256, 128, 64)
] + [
    Convolution(1, narrow, wide, side, side, KERNEL, "up")
    for narrow, wide in CHANNELS.values()
    for side in (128, 64)
]
DIRECTIONS = ("forward", "image gradient", "weight gradient")
EXACT_SIDE = 40
"""Side of the corner of an image where results are compared with float64."""


class Operands(NamedTuple):
    """Image, weight and the gradient of the result."""

    x: Tensor
    weight: Tensor
    grad_y: Tensor


def operands(shape: Convolution) -> Operands:
    """Random ones of a shape."""
    torch.manual_seed(0)

    def image(channels: int, height: int, width: int) -> Tensor:
        x = torch.randn(shape.batch, channels, height, width)
        return x.contiguous(memory_format=torch.channels_last)

    fan_in = shape.in_channels * shape.kernel**2
    weight = torch.randn(shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
    return Operands(
        image(shape.in_channels, shape.height, shape.width),
        weight / fan_in**0.5,
        image(shape.out_channels, *spectral.output_size(shape)),
    )


def in_training(
    direction: str, operands: Operands, resample: str, backend: Any
) -> Callable[[], Tensor]:
    """A convolution or one of its gradients; the backend chooses the method."""
    x, weight, grad_y = operands
    if direction == "forward":
        return lambda: backend.conv2d(x, weight, resample)
    index = DIRECTIONS.index(direction) - 1
    needs = [index == 0, index == 1]
    return lambda: backend.conv2d_backward(grad_y, x, weight, resample, *needs)[index]


ORACLE = dispatch.steps("reference")


class OneDnn:
    """What PyTorch does for an up-sampling and a convolution."""

    @staticmethod
    def conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
        """The result."""
        return ORACLE.conv2d(x, weight, resample)

    conv2d_backward = staticmethod(direct.conv2d_backward)


def relative_error(found: Tensor, direction: str, operands: Operands, resample: str) -> float:
    """Against float64, on a part: a corner of the image, or the first channels' weights."""
    x, weight, grad_y = (tensor.double() for tensor in operands)
    if direction == "weight gradient":
        x, weight, grad_y = x[:, :2], weight[:2, :2], grad_y[:, :2]
        found = found[:2, :2]
    else:
        side = min(EXACT_SIDE, x.shape[-1])
        factor = 2 if resample == "up" else 1
        x, grad_y = x[..., :side, :side], grad_y[..., : factor * side, : factor * side]
    x.requires_grad_()
    weight.requires_grad_()
    y = ORACLE.conv2d(x, weight, resample)
    if direction == "forward":
        exact = y.detach()
    else:
        wanted = x if direction == "image gradient" else weight
        (exact,) = torch.autograd.grad(y, wanted, grad_y)
    if direction != "weight gradient":
        # Pixels at the cut lack neighbours.
        inside = exact.shape[-1] - (weight.shape[-1] if exact.shape[-1] < found.shape[-1] else 0)
        exact, found = exact[..., :inside, :inside], found[..., :inside, :inside]
    return float((found - exact).norm() / exact.norm())


def shown(shape: Convolution) -> str:
    """Name of a shape in the results."""
    resampled = " up-sampled" if shape.resample == "up" else ""
    return f"{shape.in_channels} → {shape.out_channels} at {shape.height}×{shape.width}{resampled}"


@pytest.fixture(autouse=True)
def _kernels() -> None:
    state = dispatch.status("cpu")
    if not state.available:
        pytest.skip(state.reason)


def sized(shape: Convolution, small: bool) -> Convolution:
    """The shape, or a tiny one of its kind."""
    return dataclasses.replace(shape, height=8, width=8) if small else shape


@pytest.mark.parametrize("shape", SHAPES, ids=shown)
def test_prepared(benchmark: Any, scale: Scale, shape: Convolution) -> None:
    """The runtime's choice, weights transformed beforehand."""
    shape = sized(shape, scale.small)
    given = operands(shape)
    method = make_plan([("", shape)], 0).layers[0].method
    result = torch.empty_like(given.grad_y)
    prepared = spectral.PreparedConvolution(shape, method, given.weight)
    sources = (spectral.source(given.x),)
    workspace = torch.empty(prepared.workspace_size)

    def planned() -> Tensor:
        prepared.run(sources, result, workspace)
        return result

    def library() -> Tensor:
        return OneDnn.conv2d(given.x, weight, shape.resample)

    weight = given.weight.contiguous(memory_format=torch.channels_last)
    benchmark.group = f"convolution, prepared: {shown(shape)}"
    benchmark.extra_info.update(
        method=method.name,
        relative_error=relative_error(planned(), "forward", given, shape.resample),
        onednn_relative_error=relative_error(library(), "forward", given, shape.resample),
        threads=torch.get_num_threads(),
    )
    with torch.inference_mode():
        compare(benchmark, planned, library, scale.small)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=shown)
def test_training(benchmark: Any, scale: Scale, shape: Convolution, direction: str) -> None:
    """The planner's choice where the weights are new every time."""
    shape = sized(shape, scale.small)
    given = operands(shape)
    planned = in_training(direction, given, shape.resample, dispatch.steps("cpu"))
    library = in_training(direction, given, shape.resample, OneDnn)
    benchmark.group = f"convolution, {direction}: {shown(shape)}"
    benchmark.extra_info.update(
        method=methods.fastest(shape).name,
        relative_error=relative_error(planned(), direction, given, shape.resample),
        onednn_relative_error=relative_error(library(), direction, given, shape.resample),
        threads=torch.get_num_threads(),
    )
    compare(benchmark, planned, library, scale.small)

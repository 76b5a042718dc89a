"""The compiled backends on a device: the comparisons of the host, streams, devices and graphs.

The Triton backend's comparisons are in ``test_ops_triton.py``: the same for the interpreter and for
a device.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pyramidflow import ops
from tests.support import cuda_cases

BACKENDS = ("cuda", "triton")


def reason_to_skip(name: str) -> str:
    if not torch.cuda.is_available():
        return "no CUDA device is present"
    state = {record.name: record for record in ops.backends()}[name]
    return "" if state.available else state.reason


REASONS = {name: reason_to_skip(name) for name in BACKENDS}
pytestmark = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(bool(REASONS["cuda"]), reason=REASONS["cuda"])


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if REASONS[request.param]:
        pytest.skip(REASONS[request.param])
    with ops.use_backend(request.param):
        yield request.param


SHAPES = (*cuda_cases.SHAPES, (2, 16, 64, 64), (1, 64, 96, 80), (1, 24, 255, 131))


@needs_cuda
@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
def test_pyramid_of_cuda(layout, dtype):
    for shape in SHAPES:
        for reduction in ("nearest", "max"):
            cuda_cases.pyramid_down(shape, reduction, dtype, layout, "cuda")
        cuda_cases.pyramid_up(shape, dtype, layout, "cuda")


@needs_cuda
@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_coupling_of_cuda(mode, layout, dtype):
    for shape in SHAPES:
        for size in cuda_cases.params_sizes(shape):
            if shape[0] > 0 or size == shape[2:]:
                cuda_cases.affine_coupling(shape, size, mode, dtype, layout, "cuda")
        cuda_cases.coupling_conv1x1(shape, shape[2:], mode, dtype, layout, "cuda")


@needs_cuda
@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
def test_invertible_conv1x1_and_anomaly_map_of_cuda(layout, dtype):
    for shape in SHAPES:
        cuda_cases.invertible_conv1x1(shape, dtype, layout, "cuda")
        cuda_cases.anomaly_map(shape, 4, 1, dtype, layout, "cuda")


@needs_cuda
@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("pixel_type", [torch.uint8, torch.uint16], ids=str)
def test_normalize_image_of_cuda(pixel_type, dtype):
    for shape in ((2, 5, 7), (1, 8, 16), (2, 480, 641)):
        for offset in (0, 1):
            cuda_cases.normalize_image(shape, pixel_type, dtype, offset, "cuda")


class Step:
    """A training step through every operation, on tensors that keep their places in memory."""

    def __init__(self, device: str, size: int = 64) -> None:
        def leaf(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, requires_grad=True)

        self.image = torch.zeros(2, size, size, 3, dtype=torch.uint8, device=device)
        self.rgb = torch.tensor([0.4, 0.5, 0.6], device=device)
        self.leaves = [leaf(2, 6, size, size), leaf(2, 6, size, size), leaf(3, 3), leaf(6, 6, 3, 3)]

    def fill(self, image: Tensor) -> None:
        self.image.copy_(image)

    # cuDNN may choose sums whose order, and with it the bits, changes from run to run.
    @torch.backends.cudnn.flags(enabled=True, deterministic=True)
    def __call__(self) -> list[Tensor]:
        params, resized, weight, kernel = self.leaves
        params = ops.conv2d(params, kernel)
        x = ops.normalize_image(self.image, self.rgb, self.rgb)
        z, mean, log_det = ops.coupling_conv1x1(
            x, params, weight, None, ops.CouplingMode("svn", "batch")
        )
        y, _ = ops.affine_coupling_inverse(z, params, mean)
        coarse = ops.pyramid_down(ops.invertible_conv1x1(y, weight), "max")
        coarse, _, _ = ops.affine_coupling(coarse, resized)  # parameters of the finer level's size
        residual = ops.pyramid_residual(y, coarse)
        merged = ops.pyramid_merge(ops.pyramid_down(residual), residual)
        found = ops.anomaly_map([merged, coarse], [merged.detach() * 0, coarse.detach() * 0])
        loss = found.square().mean() + log_det.mean()
        gradients = torch.autograd.grad(loss, self.leaves)
        with torch.no_grad():
            block = ops.conv_coupling_conv1x1(x, params, kernel, weight, torch.zeros_like(x[:, :1]))
        return [found.detach(), block, *gradients]


def images(size: int = 64) -> Tensor:
    return torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)


def assert_equal(actual: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs.cpu())


def test_work_is_ordered_on_the_current_stream(backend):
    step, image = Step("cuda"), images().cuda()
    before = step()  # compiles and tunes too, which would wait for the device below
    step.fill(image)
    expected = step()
    with pytest.raises(AssertionError):
        assert_equal(before, expected)
    step.fill(torch.zeros_like(image))
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        step.fill(image)
        actual = step()  # on another stream it would read what was there before
    stream.synchronize()
    assert_equal(actual, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_tensors_choose_the_device(backend):
    torch.manual_seed(0)
    first, second, image = Step("cuda:0"), Step("cuda:1"), images()
    for ours, theirs in zip(first.leaves, second.leaves, strict=True):
        theirs.data.copy_(ours.data)
    first.fill(image)
    second.fill(image)
    with torch.cuda.device(0):
        expected, actual = first(), second()
        assert torch.cuda.current_device() == 0
    assert {x.device for x in actual} == {torch.device("cuda:1")}
    assert_equal(actual, expected)


def test_a_graph_captures_the_operations(backend):
    step = Step("cuda")
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):  # compiles and tunes, which no graph can capture
        step()
    aside.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(2):
        step.fill(images())
        graph.replay()
        assert_equal(captured, step())

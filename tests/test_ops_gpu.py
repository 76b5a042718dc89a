"""The CUDA backend on a device: the comparisons of the host, streams, devices and graphs."""

import cuda_cases
import pytest
import torch

from pyramidflow.ops import backend_cuda


def reason_to_skip() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device is present"
    state = backend_cuda.status()
    return "" if state.available else state.reason


REASON = reason_to_skip()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON)]

SHAPES = (*cuda_cases.SHAPES, (2, 16, 64, 64), (1, 64, 96, 80), (1, 24, 255, 131))


@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
def test_pyramid(layout, dtype):
    for shape in SHAPES:
        for reduction in ("nearest", "max"):
            cuda_cases.pyramid_down(shape, reduction, dtype, layout, "cuda")
        cuda_cases.pyramid_up(shape, dtype, layout, "cuda")


@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_coupling(mode, layout, dtype):
    for shape in SHAPES:
        for size in cuda_cases.params_sizes(shape):
            if shape[0] > 0 or size == shape[2:]:
                cuda_cases.affine_coupling(shape, size, mode, dtype, layout, "cuda")
        cuda_cases.coupling_conv1x1(shape, shape[2:], mode, dtype, layout, "cuda")


@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
def test_invertible_conv1x1_and_anomaly_map(layout, dtype):
    for shape in SHAPES:
        cuda_cases.invertible_conv1x1(shape, dtype, layout, "cuda")
        cuda_cases.anomaly_map(shape, 4, 1, dtype, layout, "cuda")


@pytest.mark.parametrize("dtype", cuda_cases.TYPES, ids=str)
@pytest.mark.parametrize("pixel_type", [torch.uint8, torch.uint16], ids=str)
def test_normalize_image(pixel_type, dtype):
    for shape in ((2, 5, 7), (1, 8, 16), (2, 480, 641)):
        for offset in (0, 1):
            cuda_cases.normalize_image(shape, pixel_type, dtype, offset, "cuda")


def test_work_is_ordered_on_the_current_stream():
    x = torch.zeros(1, 16, 512, 512, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.fill_(1.0)
        y, _ = backend_cuda.pyramid_down(x, "nearest")
        inner = y[..., 2:-2, 2:-2].clone()
    stream.synchronize()
    torch.testing.assert_close(inner, torch.ones_like(inner))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_tensors_choose_the_device():
    with torch.cuda.device(0):
        x = torch.randn(1, 4, 16, 16, device="cuda:1")
        y, _ = backend_cuda.pyramid_down(x, "nearest")
        assert torch.cuda.current_device() == 0
        on_first, _ = backend_cuda.pyramid_down(x.to("cuda:0"), "nearest")
    assert y.device == x.device
    torch.testing.assert_close(y.cpu(), on_first.cpu())


def test_a_graph_captures_the_operations():
    x = torch.randn(2, 16, 64, 64, device="cuda")
    params = torch.randn(2, 32, 64, 64, device="cuda")
    weight = torch.randn(16, 16, device="cuda")

    def step() -> torch.Tensor:
        arguments = (x, params, None, weight, "svn", "batch", 2.0)
        z, _, _ = backend_cuda.coupling_conv1x1(*arguments)
        return backend_cuda.pyramid_down(z, "max")[0]

    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.testing.assert_close(captured, step())

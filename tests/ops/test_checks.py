"""What the operations refuse, whatever the backend, and what they take although it is empty."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.errors import InputError
from tests.support import cuda_host
from tests.support.backends import require_backend

BACKENDS = ("reference", "cpu", "cuda on the host")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "cuda on the host":
        with cuda_host.backend(cuda_host.library_or_skip()):
            yield request.param
        return
    require_backend(request.param)
    with ops.use_backend(request.param):
        yield request.param


def ones(*shape: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.ones(shape, dtype=dtype, device=device)


MEAN = STD = ones(3)
PIXELS = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no channels": (
        lambda: ops.affine_coupling(ones(1, 0, 4, 4), ones(1, 0, 4, 4)),
        "the transformed level has shape [1, 0, 4, 4]: give [B, C, H, W] with one channel, one row "
        "and one column at least.",
    ),
    "parameters without pixels": (
        lambda: ops.affine_coupling(ones(1, 2, 4, 4), ones(1, 4, 0, 4)),
        "params has shape [1, 4, 0, 4]: give [B, C, H, W] with one channel, one row and one column "
        "at least.",
    ),
    "two means": (
        lambda: ops.normalize_image(PIXELS, ones(2), STD),
        "mean has shape [2], but the image has [1, 4, 4, 3]: give [3].",
    ),
    "one deviation": (
        lambda: ops.normalize_image(PIXELS, MEAN, torch.tensor(1.0)),
        "std has shape [], but the image has [1, 4, 4, 3]: give [3].",
    ),
    "means that are a list": (
        lambda: ops.normalize_image(PIXELS, [0.5, 0.5, 0.5], STD),
        "mean is of type list: give a tensor.",
    ),
    "integers as type of the result": (
        lambda: ops.normalize_image(PIXELS, MEAN, STD, torch.int32),
        "dtype is torch.int32: choose float16, bfloat16, float32 or float64.",
    ),
    "levels that are not neighbours": (
        lambda: ops.anomaly_map([ones(1, 2, 8, 8), ones(1, 2, 3, 4)], [ones(1, 2, 8, 8)] * 2),
        "level 1 of the latents has shape [1, 2, 3, 4], but level 0 has [1, 2, 8, 8]: give "
        "[1, 2, 4, 4].",
    ),
    "levels of other batches": (
        lambda: ops.anomaly_map([ones(2, 2, 8, 8), ones(1, 2, 4, 4)], [ones(1, 2, 8, 8)] * 2),
        "level 1 of the latents has shape [1, 2, 4, 4], but level 0 has [2, 2, 8, 8]: give "
        "[2, 2, 4, 4].",
    ),
    "a template on another device": (
        lambda: ops.anomaly_map([ones(1, 2, 8, 8)], [ones(1, 2, 8, 8, device="meta")]),
        "level 0 of the template is on 'meta', but level 0 of the latents is on 'cpu': move them "
        "to one device.",
    ),
    "a tensor in place of levels": (
        lambda: ops.anomaly_map(ones(1, 2, 8, 8), ones(1, 2, 8, 8)),
        "latents is of type Tensor: give a list of levels, finest first.",
    ),
    "a convolution without inputs": (
        lambda: ops.conv2d(ones(1, 0, 4, 4), ones(2, 0, 3, 3)),
        "x has shape [1, 0, 4, 4]: give [B, C, H, W] with one channel, one row and one column at "
        "least.",
    ),
    "a convolution without outputs": (
        lambda: ops.conv2d(ones(1, 2, 4, 4), ones(0, 2, 3, 3)),
        "weight has shape [0, 2, 3, 3], but the image has 2 channels: give [O, 2, k, k] with an "
        "odd k.",
    ),
    "a matrix on another device": (
        lambda: ops.invertible_conv1x1(ones(1, 2, 4, 4), ones(2, 2, device="meta")),
        "weight is on 'meta', but y is on 'cpu': move them to one device.",
    ),
    "a level of integers": (
        lambda: ops.pyramid_down(ones(1, 2, 4, 4, dtype=torch.int64)),
        "x has elements of type torch.int64: give a tensor of float16, bfloat16, float32 or "
        "float64.",
    ),
    "a level of eight bits": (
        lambda: ops.pyramid_down(ones(1, 2, 4, 4).to(torch.float8_e4m3fn)),
        "x has elements of type torch.float8_e4m3fn: give a tensor of float16, bfloat16, float32 "
        "or float64.",
    ),
    "more elements than there can be": (
        lambda: ops.pyramid_down(ones(1, 1, 1, 1).expand(1, 4, 1 << 20, 1 << 20)),
        "x has shape [1, 4, 1048576, 1048576], more than 1099511627776 elements: give a smaller "
        "image, or fewer at a time.",
    ),
    "a clamp of nothing": (
        lambda: ops.affine_coupling(
            ones(1, 2, 4, 4), ones(1, 4, 4, 4), mode=ops.CouplingMode(clamp=0.0)
        ),
        "clamp is 0.0: give a positive number.",
    ),
}


@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED)
def test_every_backend_refuses_it_with_the_same_sentence(backend, call, sentence) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value) == sentence


def test_empty_batches_give_empty_results_and_gradients(backend) -> None:
    def empty(*shape: int) -> Tensor:
        return torch.empty(0, *shape).requires_grad_()

    matrix, kernel = ones(2, 2).requires_grad_(), ones(5, 2, 3, 3).requires_grad_()
    fine, coarse, params = empty(2, 5, 6), empty(2, 3, 3), empty(4, 5, 6)
    results = {
        ops.pyramid_down(fine): (0, 2, 3, 3),
        ops.pyramid_down(fine, "max"): (0, 2, 3, 3),
        ops.pyramid_residual(fine, coarse): (0, 2, 5, 6),
        ops.pyramid_merge(coarse, fine): (0, 2, 5, 6),
        ops.affine_coupling(fine, params)[0]: (0, 2, 5, 6),
        ops.affine_coupling_inverse(fine, params, mode=ops.CouplingMode("svn"))[0]: (0, 2, 5, 6),
        ops.coupling_conv1x1(fine, params, matrix)[0]: (0, 2, 5, 6),
        ops.invertible_conv1x1(fine, matrix): (0, 2, 5, 6),
        ops.conv2d(fine, kernel, "up"): (0, 5, 10, 12),
        ops.anomaly_map([fine, coarse], [ones(1, 2, 5, 6), ones(1, 2, 3, 3)]): (0, 5, 6),
    }
    assert [tuple(result.shape) for result in results] == list(results.values())
    sum(result.sum() for result in results).backward()
    for operand in (fine, coarse, params):
        assert operand.grad.shape == operand.shape
    for weight in (matrix, kernel):
        assert torch.equal(weight.grad, torch.zeros_like(weight))
    assert ops.normalize_image(PIXELS[:0], MEAN, STD).shape == (0, 3, 4, 4)

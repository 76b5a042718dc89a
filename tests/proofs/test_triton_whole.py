"""The Triton backend as a whole against the oracle; ``test_triton.py`` runs it interpreted."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed")

from pyramidflow import ops
from tests.support.triton_cases import (
    DEVICE,
    FORWARD,
    GRADIENT,
    LAYOUTS,
    MODES,
    compare,
    compare_coupling,
    comparison,
    coupling_arguments,
    draw,
    halved,
    oracle_of,
    ours_of,
    relative_error,
)

EMPTY_LEVELS = [(0, 3, 8, 6), (2, 0, 5, 4)]


@comparison
@pytest.mark.parametrize("size", EMPTY_LEVELS, ids=str)
def test_empty_levels_equals_oracle(size: tuple[int, ...]) -> None:
    x, half = torch.randn(size), torch.randn(halved(size))
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
    x, half = draw(*size, layout=layout), draw(*halved(size), layout=layout)
    for reduction in ("nearest", "max"):
        compare("pyramid_down", x, reduction, tolerance=FORWARD)
        index = oracle_of.pyramid_down(x, reduction)[1]
        arguments = (half, index, *size[2:], reduction)
        compare("pyramid_down_backward", *arguments, tolerance=GRADIENT)
    compare("pyramid_residual", x, half, tolerance=FORWARD)
    compare("pyramid_up_backward", x, tolerance=GRADIENT)
    for mode in (MODES[0], MODES[2]):
        arguments = coupling_arguments(size, mode, layout=layout)
        compare_coupling(*arguments, mode, "affine_coupling")
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
    x, params, _ = coupling_arguments(size, MODES[0], resize)
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

"""What the oracle refuses, and its gradients."""

import pytest
import torch

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import CouplingMode
from tests.support.operands import coupling_inputs

torch.manual_seed(0)


def test_gradients_match_finite_differences():
    x, params = (t.requires_grad_() for t in coupling_inputs(size=(2, 2), params_size=(4, 4)))
    for volume_norm in ("cvn", "svn", "none"):
        assert torch.autograd.gradcheck(
            lambda a, b, v=volume_norm: ops.affine_coupling(a, b, None, CouplingMode(v))[::2],
            (x, params),
        )
        assert torch.autograd.gradcheck(
            lambda a, b, v=volume_norm: ops.affine_coupling_inverse(a, b, None, CouplingMode(v)),
            (x, params),
        )
    fine = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    for reduction in ("nearest", "max"):
        assert torch.autograd.gradcheck(lambda a, r=reduction: ops.pyramid_down(a, r), (fine,))
    assert torch.autograd.gradcheck(ops.pyramid_residual, (fine, coarse))
    assert torch.autograd.gradcheck(ops.pyramid_merge, (coarse, fine))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ops.pyramid_down(torch.zeros(3, 4)), "[B, C, H, W]"),
        (lambda: ops.pyramid_down(torch.zeros(1, 1, 4, 4), "mean"), "nearest, max"),
        (
            lambda: ops.pyramid_residual(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 2, 3)),
            "[1, 1, 3, 3]",
        ),
        (
            lambda: ops.affine_coupling(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3)),
            "[1, 4, H', W']",
        ),
        (
            lambda: ops.affine_coupling(
                torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 3, 3), torch.zeros(1, 1, 5, 5)
            ),
            "training's image size",
        ),
        (lambda: ops.invertible_conv1x1(torch.zeros(1, 2, 3, 3), torch.zeros(3, 3)), "[2, 2]"),
        (lambda: ops.anomaly_map([], []), "levels"),
        (
            lambda: ops.anomaly_map([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 2, 4, 4)]),
            "same image size",
        ),
        (
            lambda: ops.anomaly_map(
                [torch.zeros(2, 2, 3, 3)],
                [torch.zeros(1, 2, 3, 3)],
                inverse_spread=[torch.zeros(1, 2, 1, 1)],
            ),
            "level 0 of the inverse spread has shape [1, 2, 1, 1]",
        ),
        (
            lambda: ops.anomaly_map(
                [torch.zeros(2, 2, 3, 3)],
                [torch.zeros(1, 2, 3, 3)],
                shift=[torch.zeros(1, 2, 1, 1)],
            ),
            "level 0 of the shift has shape [1, 2, 1, 1]",
        ),
        (
            lambda: ops.anomaly_map([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 2, 3, 3)], shift=[]),
            "levels",
        ),
        (
            lambda: ops.normalize_image(torch.zeros(1, 3, 4, 4), torch.zeros(3), torch.ones(3)),
            "uint8 or uint16",
        ),
    ],
)
def test_wrong_arguments_are_refused_with_a_reason(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

"""The couplings that are fused with convolutions, made of the steps that they fuse.

The steps are those of one backend: what a backend leaves out, or cannot fuse for its size, is
computed so.
"""

from torch import Tensor

from pyramidflow.ops.coupling.mode import Block, Coupled, CouplingMode, given_mean
from pyramidflow.ops.dispatch import Steps


def coupling_conv1x1(
    steps: Steps,
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    mode: CouplingMode,
) -> tuple[Tensor, Tensor, Tensor]:
    """The coupling, then the 1×1 convolution."""
    y, mean_used, log_det = steps.affine_coupling(x, params, mean, *mode)
    return steps.invertible_conv1x1(y, weight), mean_used, log_det


def coupling_conv1x1_backward(
    steps: Steps,
    grad_z: Tensor,
    grad_log_det: Tensor,
    weight: Tensor,
    coupled: Coupled,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`coupling_conv1x1`; the coupling's result is computed again, not kept."""
    y, _, _ = steps.affine_coupling(*coupled[:3], *coupled.mode._replace(with_log_det=False))
    grad_y, grad_weight = steps.invertible_conv1x1_backward(grad_z, y, weight)
    grad_x, grad_params = steps.affine_coupling_backward(grad_y, grad_log_det, *coupled)
    return grad_x, grad_params, grad_weight


def conv_coupling_conv1x1(
    steps: Steps,
    block: Block,
) -> Tensor:
    """The convolution, then :func:`coupling_conv1x1`."""
    x, hidden, kernel, mean, weight, resample, clamp = block
    params = steps.conv2d(hidden, kernel, resample)
    z: Tensor = steps.coupling_conv1x1(x, params, mean, weight, *given_mean(clamp))[0]
    return z

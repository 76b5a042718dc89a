"""The convolution in plain PyTorch: the oracle."""

from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.convolution.convolved import Convolved
from pyramidflow.ops.oracle import gradients


def conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
    """Convolution, up-sampled before or down-sampled after."""
    fine = functional.interpolate(x, scale_factor=2, mode="nearest") if resample == "up" else x
    y = functional.conv2d(fine, weight, padding=weight.shape[-1] // 2)
    return dense(y[:, :, ::2, ::2] if resample == "down" else y, like=x)


def conv2d_backward(grad_y: Tensor, convolved: Convolved) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`conv2d`; what is not needed is empty."""
    x, weight, resample, need_x, need_weight = convolved
    grad_x, grad_weight = x.new_empty(0), weight.new_empty(0)
    if need_x:
        (grad_x,) = gradients(lambda x: conv2d(x, weight, resample), [x], grad_y)
        grad_x = dense(grad_x, like=x)
    if need_weight:
        (grad_weight,) = gradients(lambda weight: conv2d(x, weight, resample), [weight], grad_y)
    return grad_x, grad_weight.contiguous()

"""The reference backend: the oracle as it stands, its gradients by autograd of the oracle."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import reference
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.dispatch import Status


class _Everything:
    def __contains__(self, item: object) -> bool:
        return True


DEVICES = _Everything()
DTYPES = _Everything()


def status() -> Status:
    """Plain PyTorch runs wherever PyTorch does."""
    return Status(True, f"plain PyTorch {torch.__version__}, every device and floating type.")


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    if reduction == "max":
        y, index = reference.pyramid_down_max(x)
        return dense(y, like=x), dense(index, like=x)
    y = reference.pyramid_down(x, reduction)
    return _owned(y, like=x), x.new_empty(0, dtype=torch.uint8)


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Gᵀ`` of the gradients, put back where their pixels were taken from."""
    size = (*grad_y.shape[:2], height, width)
    if reduction == "max":
        spread = reference.spread_to_cells(grad_y, index, height, width)
        (grad_x,) = _gradients(reference.binomial_filter, [grad_y.new_zeros(size)], spread)
    else:
        (grad_x,) = _gradients(
            lambda x: reference.pyramid_down(x, reduction), [grad_y.new_zeros(size)], grad_y
        )
    return dense(grad_x, like=grad_y)


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    return dense(reference.pyramid_residual(fine, coarse), like=fine)


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    return dense(reference.pyramid_merge(coarse, residual), like=residual)


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    (grad_coarse,) = _gradients(
        lambda coarse: reference.pyramid_merge(coarse, torch.zeros_like(grad)),
        [grad.new_zeros(half)],
        grad,
    )
    return dense(grad_coarse, like=grad)


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    y, mean_used, log_det = reference.affine_coupling(
        x, params, mean, volume_norm, statistics, clamp
    )
    return dense(y, like=x), _new_mean(params, mean, mean_used), log_det


def affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""

    def forward(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean = mean_used if mean_given else None
        y, _, log_det = reference.affine_coupling(x, params, mean, volume_norm, statistics, clamp)
        return y, log_det

    grad_x, grad_params = _gradients(forward, [x, params], (grad_y, grad_log_det))
    return dense(grad_x, like=x), dense(grad_params, like=params)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    x, mean_used, log_det = reference.affine_coupling_inverse(
        y, params, mean, volume_norm, statistics, clamp
    )
    return dense(x, like=y), _new_mean(params, mean, mean_used), log_det


def affine_coupling_inverse_backward(
    grad_x: Tensor,
    grad_log_det: Tensor,
    y: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""

    def forward(y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        mean = mean_used if mean_given else None
        x, _, log_det = reference.affine_coupling_inverse(
            y, params, mean, volume_norm, statistics, clamp
        )
        return x, log_det

    grad_y, grad_params = _gradients(forward, [y, params], (grad_x, grad_log_det))
    return dense(grad_y, like=y), dense(grad_params, like=params)


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    return dense(reference.invertible_conv1x1(y, weight), like=y)


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    grad_y, grad_weight = _gradients(reference.invertible_conv1x1, [y, weight], grad_z)
    return dense(grad_y, like=y), grad_weight.contiguous()


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``."""
    z, mean_used, log_det = reference.coupling_conv1x1(
        x, params, mean, weight, volume_norm, statistics, clamp
    )
    return dense(z, like=x), _new_mean(params, mean, mean_used), log_det


def coupling_conv1x1_backward(
    grad_z: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``coupling_conv1x1``."""

    def forward(x: Tensor, params: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        mean = mean_used if mean_given else None
        z, _, log_det = reference.coupling_conv1x1(
            x, params, mean, weight, volume_norm, statistics, clamp
        )
        return z, log_det

    grad_x, grad_params, grad_weight = _gradients(
        forward, [x, params, weight], (grad_z, grad_log_det)
    )
    return dense(grad_x, like=x), dense(grad_params, like=params), grad_weight.contiguous()


def conv2d(x: Tensor, weight: Tensor, resample: str, tile: int) -> Tensor:
    """Convolution, up-sampled before or down-sampled after, whatever the tile."""
    return dense(reference.conv2d(x, weight, resample), like=x)


def conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    resample: str,
    tile: int,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`conv2d`; what is not needed is empty."""
    grad_x, grad_weight = x.new_empty(0), weight.new_empty(0)
    if need_x:
        (grad_x,) = _gradients(lambda x: reference.conv2d(x, weight, resample), [x], grad_y)
        grad_x = dense(grad_x, like=x)
    if need_weight:
        (grad_weight,) = _gradients(
            lambda weight: reference.conv2d(x, weight, resample), [weight], grad_y
        )
    return grad_x, grad_weight.contiguous()


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``."""
    return _owned(
        reference.conv_coupling_conv1x1(x, hidden, kernel, mean, weight, resample, clamp), x
    )


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    """Composition of the channel means of ``|z_d − z̄_d − m_d| · w_d``."""
    return reference.anomaly_map(latents, template, inverse_spread, shift, tolerance).contiguous()


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grads = _gradients(lambda *z: reference.anomaly_map(z, template), latents, grad_map)
    return [dense(grad, like=z) for grad, z in zip(grads, latents, strict=True)]


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    return reference.normalize_image(image, mean, std, dtype).contiguous()


def _gradients(
    forward: Callable[..., Any], inputs: Sequence[Tensor], grads: Any
) -> tuple[Tensor, ...]:
    # Autograd is off below the dispatcher; a functional vector-Jacobian product brings its own.
    vjp = torch.func.vjp(forward, *inputs)[1]
    gradients: tuple[Tensor, ...] = vjp(grads)
    return gradients


def _new_mean(params: Tensor, given: Tensor | None, used: Tensor) -> Tensor:
    # A result must not be one of the arguments: a given mean is not returned.
    return params.new_empty(0) if given is not None else dense(used, like=params)


def _owned(y: Tensor, like: Tensor) -> Tensor:
    result = dense(y, like)
    return result.clone() if result.data_ptr() == y.data_ptr() else result

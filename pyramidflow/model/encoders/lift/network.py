"""The lift as a module."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow.model.drawing import drawing_device
from pyramidflow.model.frozen import FrozenEncoder, FrozenSteps
from pyramidflow.model.layers import Conv


class Lift(FrozenEncoder):
    """Frozen semi-orthogonal 1×1 convolution: ``x = W I``, ``W [C, 3]``, ``WᵀW = I``.

    Args:
        channels: ``C``, at least 3.

    Source: paper section 3 (volume-preserving "semi-invertible" convolution).
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        weight = nn.init.orthogonal_(torch.empty(channels, 3, device=drawing_device()))
        self.register_buffer("weight", weight.to(torch.get_default_device()))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, h, w]`` to ``[B, C, h, w]``."""
        return functional.conv2d(image, self.weight[:, :, None, None])

    def steps(self) -> FrozenSteps:
        """See :meth:`FrozenEncoder.steps`."""
        layer = Conv("weight", None, 3, len(self.weight), kernel=1, activation="none")
        weight = self.weight.detach()[:, :, None, None]
        return FrozenSteps(((layer,),), (1,), lambda _: (weight, None))

    def inverse(self, features: Tensor) -> Tensor:
        """Least-squares solution ``I`` of ``W I = x``: ``[B, C, h, w]`` to ``[B, 3, h, w]``."""
        pseudo_inverse = torch.linalg.pinv(self.weight.double()).to(features.dtype)  # [3, C]
        return functional.conv2d(features, pseudo_inverse[:, :, None, None])

    def log_det(self, image: Tensor) -> Tensor:
        """``h · w · ½ logdet WᵀW``, zero up to rounding while ``WᵀW = I``.

        Returns:
            A scalar, float32 or wider: a sum over pixels leaves float16's range.
        """
        gram = self.weight.double().T @ self.weight.double()
        log_det = 0.5 * torch.logdet(gram) * (image.shape[-2] * image.shape[-1])
        return log_det.to(torch.promote_types(image.dtype, torch.float32))

"""Feature maps of a network of timm, as one."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class JoinedFeatures(nn.Module):
    """A module that returns several feature maps, as one that returns them side by side.

    Coarser ones are up-sampled bilinearly to the size of the first.

    Args:
        network: maps ``[B, 3, H, W]`` to a list of ``[B, C_i, h_i, w_i]``; or of
            ``[B, h_i, w_i, C_i]``, where its ``output_fmt`` is ``"NHWC"``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.is_channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, Σ C_i, h_0, w_0]``."""
        features = list(self.network(image))
        if self.is_channels_last:
            features = [x.permute(0, 3, 1, 2) for x in features]
        size = features[0].shape[-2:]
        resized = [functional.interpolate(x, size=size, mode="bilinear") for x in features[1:]]
        return torch.cat([features[0], *resized], 1)

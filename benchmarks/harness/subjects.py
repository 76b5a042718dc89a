"""What the benchmarks measure: networks, detectors and images, random and the same on every run.

Time does not depend on the weights, so nothing is trained or downloaded.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow import Detector, PyramidFlow
from pyramidflow.runtime.cpu.demand import flow_shapes
from pyramidflow.training import ContrastLoss, Recipe


def detector(encoder: str, size: int, channels: int, levels: int = 4, stacks: int = 4) -> Detector:
    """A detector as a training would leave it: running means and template of an image's size.

    Args:
        encoder: ``"lift"`` or a ResNet, whose weights are random.
        size: side of the image.
        channels: of the baseline; a ResNet has its own.
        levels: of the pyramid.
        stacks: of the flow.
    """
    width = channels if encoder == "lift" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PyramidFlow(width, levels, stacks, encoder=encoder).eval()
        padded = network.pyramid.padded_size(network.feature_size(size, size))
        seconds = flow_shapes(network, 1, padded)[1::2]
        for block, (_, shape) in zip(network.flow, seconds, strict=True):
            # Fresh ones are zero: nothing would flow.
            torch.nn.init.normal_(
                block.affine_params.conv2.weight, std=(shape.in_channels * shape.kernel**2) ** -0.5
            )
            block.volume_norm.running_mean = torch.randn(1, 1, shape.height, shape.width) / 9
        template = [
            torch.randn(1, network.architecture.channels, padded[0] >> d, padded[1] >> d)
            for d in range(levels)
        ]
    return Detector.from_network(network, template, {"image_size": size})


def images(count: int, size: int) -> Tensor:
    """Images ``[B, H, W, 3]``, uint8: smooth, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = functional.interpolate(coarse, size=(size, size), mode="bilinear")
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth * 220 + 4 * noise).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def randomise(blocks: Iterable[nn.Module]) -> None:
    """Give the last convolutions weights: fresh ones are zero, and the flow would not flow."""
    for block in blocks:
        convolution = [m for m in block.modules() if isinstance(m, nn.Conv2d)][1]
        nn.init.normal_(convolution.weight, std=convolution.weight[0].numel() ** -0.5)


def optimised(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A step of the recipe: loss, gradients, clipping and Adam."""
    recipe = Recipe()
    optimizer = torch.optim.Adam(
        (p for p in network.parameters() if p.requires_grad),
        lr=recipe.learning_rate,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        betas=recipe.betas,
    )

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimizer.step()

    return step


def recipe_step(network: PyramidFlow, batch: Tensor) -> Callable[[], None]:
    """A step of our network, which is put into training mode, on normalised images."""
    loss = ContrastLoss()
    network.train()
    return optimised(network, lambda: loss(network, batch))

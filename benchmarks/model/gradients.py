"""Gradients of a training step in float32 beside the same in float64.

``python -m benchmarks.model.gradients`` writes ``benchmarks/results/gradients.md`` and ``.json``.
"""

import copy
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.subjects import images, randomise
from pyramidflow import ops
from pyramidflow.model import PyramidFlow
from pyramidflow.ops import VolumeNormKind
from pyramidflow.training import ContrastLoss, Recipe

METHOD = """\
Loss and gradients of the recipe's first step, beside those of plain PyTorch in float64. The network
is the baseline, untrained; the last convolution of every coupling, which starts at zero, is normal
with the deviation 1/sqrt(fan-in). Loss: relative difference. Gradients: the norm of the difference
over the norm, of the worst parameter and of the median one. The last row of a table is float64,
too: there the images are changed, by half of the last bit of a float32.
"""

ROUNDING = 2.0**-24
"""Half of the last bit of a float32, relative."""

Gradients = tuple[Tensor, dict[str, Tensor]]


def step(network: PyramidFlow, batch: Tensor, backend: str) -> Gradients:
    """Loss and gradients of a copy of the network, in the batch's type."""
    network = copy.deepcopy(network).to(batch.dtype).train()
    with ops.use_backend(backend):
        loss = ContrastLoss()(network, batch)
        torch.autograd.backward(loss)
    found = {name: p.grad.double() for name, p in network.named_parameters() if p.grad is not None}
    return loss.detach().double(), found


def deviation(found: Gradients, exact: Gradients) -> dict[str, float]:
    """How far loss and gradients are from others, relative."""
    errors = [
        float((found[1][name] - gradient).norm() / gradient.norm())
        for name, gradient in exact[1].items()
    ]
    return {
        "loss": float((found[0] - exact[0]).abs() / exact[0].abs()),
        "worst": max(errors),
        "median": statistics.median(errors),
    }


def compare(volume_norm: VolumeNormKind, size: int, channels: int) -> dict[str, dict[str, float]]:
    """Deviations of each backend of this machine, and of images changed by a rounding."""
    torch.manual_seed(0)
    network = PyramidFlow(channels, volume_norm=volume_norm)
    randomise(list(network.flow.blocks))
    pixels = images(Recipe().batch_size, size).permute(0, 3, 1, 2).float() / 255
    deviation_of_pixels, mean = torch.std_mean(pixels, (0, 2, 3), keepdim=True)
    batch = (pixels - mean) / deviation_of_pixels
    exact = step(network, batch.double(), "reference")
    backends = dict.fromkeys((ops.active_backend("cpu"), "reference"))
    found = {
        f"float32, backend {name}": deviation(step(network, batch, name), exact)
        for name in backends
    }
    rounded = batch.double() * (1 + ROUNDING * torch.randn(batch.shape, dtype=torch.float64))
    found["float64, images changed by a rounding"] = deviation(
        step(network, rounded, "reference"), exact
    )
    return found


def tables(cases: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The deviations as one Markdown table for each case."""
    lines = []
    for name, rows in cases.items():
        cells = [
            [row, *(f"{found[key]:.1e}" for key in ("loss", "worst", "median"))]
            for row, found in rows.items()
        ]
        heads = ["", "loss", "gradients, worst", "median"]
        lines += [f"## {name}", "", *results.table(heads, cells), ""]
    return lines[:-1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute and write the two files."""
    parser = common.parser("benchmarks.model.gradients", __doc__, "gradients", small=True)
    options = common.parse(parser, arguments)
    torch.set_num_threads(options.threads)
    size, channels = (32, 4) if options.small else (256, 16)
    kinds: tuple[VolumeNormKind, ...] = ("cvn", "svn")
    cases = {
        f"Baseline, {size}×{size}, {kind.upper()}": compare(kind, size, channels) for kind in kinds
    }
    text = [*METHOD.splitlines(), "", *tables(cases)]
    results.write(options, "Gradients in float32 beside float64", text, cases)


if __name__ == "__main__":
    main()

"""How a network is computed on a GPU: precision, batch sizes, and what each block fuses."""

from dataclasses import dataclass

import torch

from pyramidflow.model import PyramidFlow
from pyramidflow.runtime.inspection_settings import Precision

DTYPES: dict[Precision, torch.dtype] = {
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "tf32": torch.float32,
    "float32": torch.float32,
}
"""Type of weights and features by precision; accumulators are float32 throughout."""

BATCH_SIZES = (8, 4, 2, 1)
"""Numbers of images that have a graph, falling to 1."""


@dataclass(frozen=True)
class CudaPlan:
    """Sizes, convolutions, and what is fused.

    Attributes:
        size: height and width of the images in pixels.
        precision: of the arithmetic.
        batch_sizes: that have a graph.
        blocks: a line for each coupling block.
    """

    size: tuple[int, int]
    precision: Precision
    batch_sizes: tuple[int, ...]
    blocks: tuple[str, ...]

    @classmethod
    def of(cls, network: PyramidFlow, size: tuple[int, int], precision: Precision) -> "CudaPlan":
        """The plan of a network for images of one size."""
        shapes = network.latent_shapes(1, network.feature_size(*size))
        blocks = []
        for number, block in enumerate(network.flow):
            topology = block.topology
            level = shapes[topology.writes][2:]
            hidden, inputs, kernel, _ = block.affine_params.conv1.weight.shape
            first = f"{kernel}×{kernel}"
            if topology.condition_resample == "up":
                phase = (kernel + 1) // 2
                first = f"four phases of {phase}×{phase}"
            stride = ", every second pixel" if topology.params_resample == "down" else ""
            blocks.append(
                f"block {number}: {topology.kind} → level {topology.writes}, "
                f"{level[0]}×{level[1]}; first {inputs} → {hidden}, {first}; second with coupling "
                f"and 1×1 {hidden} → {hidden}, {kernel}×{kernel}{stride}"
            )
        return cls(size, precision, BATCH_SIZES, tuple(blocks))

    def explain(self) -> str:
        """A line for the arithmetic, then one for each block."""
        dtype = str(DTYPES[self.precision]).removeprefix("torch.")
        batches = ", ".join(map(str, self.batch_sizes))
        first = (
            f"{self.size[0]} × {self.size[1]}, {self.precision} ({dtype}, channels-last), a CUDA "
            f"graph for each of the batch sizes {batches}"
        )
        return "\n".join([first, *self.blocks])

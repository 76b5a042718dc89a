"""What a runtime is made from: a trained network, and what it needs to inspect pictures."""

from dataclasses import dataclass

from pyramidflow.model import Comparison, PyramidFlow


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with what it needs to inspect camera pixels.

    Attributes:
        network: in evaluation mode.
        comparison: of latents of whole images with what is normal.
        mean: per channel, of images scaled to [0, 1].
        std: per channel, likewise.
    """

    network: PyramidFlow
    comparison: Comparison
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

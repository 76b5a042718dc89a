"""Inspection on a GPU: frozen networks as CUDA graphs.

:func:`plan` says how, :func:`make` allocates it; what that gives has ``inspect``.
"""

from pyramidflow.runtime.cuda.plan import CudaPlan
from pyramidflow.runtime.cuda.runtime import CudaRuntime
from pyramidflow.runtime.inspection_settings import InspectionSettings
from pyramidflow.runtime.trained_network import TrainedNetwork

__all__ = ["CudaPlan", "CudaRuntime", "make", "plan"]


def plan(
    trained: TrainedNetwork, size: tuple[int, int], settings: InspectionSettings | None = None
) -> CudaPlan:
    """How images would be inspected; nothing is allocated.

    Args:
        trained: the network, on any device.
        size: height and width of the images in pixels.
        settings: precision; half by default.

    Raises:
        InputError: the device does not have the precision.
    """
    precision = (settings or InspectionSettings()).precision_on("cuda")
    return CudaPlan.of(trained.network, size, precision)


def make(
    trained: TrainedNetwork, size: tuple[int, int], settings: InspectionSettings | None = None
) -> CudaRuntime:
    """A runtime with a CUDA graph for each batch size.

    Args:
        trained: the network, on a CUDA device; it must not change while the runtime is used.
        size: height and width of the images in pixels.
        settings: as :func:`plan`'s.

    Raises:
        InputError: the network is not on a CUDA device, or that does not have the precision.
    """
    device = next(trained.network.parameters()).device
    precision = (settings or InspectionSettings()).precision_on("cuda")
    return CudaRuntime(trained, size, device, precision)

"""Which engine a detector inspects on, made when it is first needed."""

from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.engine.choice import make_engine
from pyramidflow.engine.settings import Settings, TrainedNetwork


class Engine(Protocol):
    """What inspects images of one size."""

    def anomaly_map(self, images: Tensor) -> Tensor:
        """``[B, H, W, 3]`` camera pixels to ``[B, h, w]``."""
        ...


class EngineSlot:
    """Room for the engine of one network.

    Args:
        settings: of the engine.

    Attributes:
        lock: to hold from asking for the engine until its result is used: it has one memory.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.lock = Lock()
        self._made_for: object = None
        self._engine: Engine | None = None

    def empty(self) -> None:
        """Forget the engine: the network or its template has changed."""
        self._made_for, self._engine = None, None

    def get(
        self, trained: TrainedNetwork, size: tuple[int, int, int], device: torch.device
    ) -> Engine | None:
        """The engine for images of one size.

        Args:
            trained: the network, the same one until :meth:`empty`.
            size: batch, height and width of the images in pixels.
            device: where the network is.

        Returns:
            ``None`` where the operations' backend is not the one that an engine builds on.

        Raises:
            InputError: the device has no such precision, or the memory budget is too small.
        """
        backend = ops.active_backend(device.type)
        if (device.type, backend) not in _ENGINES:
            return None
        if self._made_for != (size, device):
            self.empty()  # first its memory, then the next one's
            self._engine = self._make(trained, size, device)
            self._made_for = (size, device)
        return self._engine

    def _make(
        self, trained: TrainedNetwork, size: tuple[int, int, int], device: torch.device
    ) -> Engine:
        if device.type == "cpu":
            return make_engine(trained, size, self.settings)
        from pyramidflow.engine.cuda import CudaEngine

        return CudaEngine(trained, size[1:], device, self.settings.precision_on(device.type))


_ENGINES = {("cpu", "cpu"), ("cuda", "cuda"), ("cuda", "triton")}
"""Device and backend of the operations."""

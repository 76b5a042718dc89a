"""Which engine a detector inspects on, made when it is first needed."""

from collections.abc import Sequence
from threading import Lock
from typing import Literal, Protocol

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data import Preprocessing
from pyramidflow.engine.choice import make_engine
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow

Precision = Literal["half", "bfloat16", "tf32", "float32"]

CPU_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
CUDA_PRECISIONS: tuple[Precision, ...] = ("half", "bfloat16", "tf32", "float32")
"""Arithmetic of the engines; the first is each one's own choice."""


class Engine(Protocol):
    """What inspects images of one size."""

    def anomaly_map(self, images: Tensor) -> Tensor:
        """``[B, H, W, 3]`` camera pixels to ``[B, h, w]``."""
        ...


class EngineSlot:
    """Room for the engine of one network.

    Args:
        threads: of an engine on the CPU; ``None`` takes PyTorch's number.
        memory_budget: bytes that the process may have at its peak with an engine on the CPU;
            ``None`` for the fastest plan.
        precision: of the arithmetic; ``None`` is float32 on the CPU and half on a GPU.

    Attributes:
        lock: to hold from asking for the engine until its result is used: it has one memory.
    """

    def __init__(
        self,
        threads: int | None = None,
        memory_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.threads = threads
        self.memory_budget = memory_budget
        self.precision = precision
        self.lock = Lock()
        self._made_for: object = None
        self._engine: Engine | None = None

    def empty(self) -> None:
        """Forget the engine: the network or its template has changed."""
        self._made_for, self._engine = None, None

    def get(
        self,
        network: PyramidFlow,
        template: Sequence[Tensor],
        preprocessing: Preprocessing,
        batch: int,
        device: torch.device,
    ) -> Engine | None:
        """The engine for a number of images of the preprocessing's size.

        Args:
            network: in evaluation mode.
            template: levels ``[1, C, h_d, w_d]``, finest first.
            preprocessing: of the detector.
            batch: images at once.
            device: where the network is.

        Returns:
            ``None`` where the operations' backend is not the one that an engine builds on.

        Raises:
            InputError: the device has no such precision, or the memory budget is too small.
        """
        backend = ops.active_backend(device.type)
        if (device.type, backend) not in _ENGINES:
            return None
        if self._made_for != (batch, device):
            self.empty()  # first its memory, then the next one's
            self._engine = self._make(network, template, preprocessing, batch, device)
            self._made_for = (batch, device)
        return self._engine

    def _make(
        self,
        network: PyramidFlow,
        template: Sequence[Tensor],
        preprocessing: Preprocessing,
        batch: int,
        device: torch.device,
    ) -> Engine:
        known = CPU_PRECISIONS if device.type == "cpu" else CUDA_PRECISIONS
        precision = self.precision or known[0]
        if precision not in known:
            raise InputError(
                f"the precision is {precision!r}: on {device.type} choose one of "
                f"{', '.join(known)}."
            )
        side = preprocessing.image_size
        if device.type == "cpu":
            mean, std = torch.tensor([preprocessing.mean, preprocessing.std])
            return make_engine(
                network,
                template,
                (batch, side, side),
                mean,
                std,
                threads=self.threads,
                memory_budget=self.memory_budget,
                bfloat16=precision == "bfloat16",
            )
        from pyramidflow.engine.cuda import CudaEngine

        return CudaEngine(network, template, preprocessing, (side, side), batch, device, precision)


_ENGINES = {("cpu", "cpu"), ("cuda", "cuda"), ("cuda", "triton")}
"""Device and backend of the operations."""

"""Inference on a GPU: the frozen network, replayed as a CUDA graph for each of a few batch sizes.

The arithmetic is in ``frozen.py``, the way from recorded batch sizes to any number of images in
``replay.py``; both are proven on the CPU. Here are the graphs, the upload and the order of streams.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.interrupt import checkpoint
from pyramidflow.ops.tf32 import convolutions_with_tf32
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.runtime.cuda.plan import BATCH_SIZES, DTYPES, CudaPlan
from pyramidflow.runtime.cuda.replay import Recording, ReplayedNetwork
from pyramidflow.runtime.inspection_settings import Precision
from pyramidflow.runtime.trained_network import TrainedNetwork

WARM_UP = 3
"""Runs before a graph is captured: kernels are compiled and tuned in the first."""


@dataclass
class _Staging:
    """Pinned memory, and the event after which the device has read it."""

    memory: Tensor
    read: torch.cuda.Event


class CudaRecorder:
    """Records CUDA graphs on a device; they compute in one pool of memory, in turns.

    Args:
        device: a CUDA device with its number.
        upload_bytes: the largest upload.
        allow_tf32: whether cuDNN may round float32 products.
    """

    def __init__(self, device: torch.device, upload_bytes: int, allow_tf32: bool) -> None:
        self.device = device
        self._allow_tf32 = allow_tf32
        self._pool = torch.cuda.graph_pool_handle()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._staging = [
            _Staging(
                torch.empty(upload_bytes, dtype=torch.uint8, pin_memory=True),
                torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            for _ in range(2)
        ]

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Use the memory behind whoever used it before, on whatever stream."""
        with torch.cuda.device(self.device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._done)  # before the first turn there is nothing
            try:
                yield
            finally:
                self._done.record(stream)

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory on the device."""
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def record(self, run: Callable[[], Tensor]) -> Recording:
        """Capture a call as a graph, after it has run often enough to be tuned."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with _repeatable_convolutions(), convolutions_with_tf32(self._allow_tf32):
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    checkpoint()
                    run()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may inspect on another runtime meanwhile: what they call must not end
            # this capture.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = run()
        return Recording(graph.replay, result)

    def upload(self, images: Tensor, target: Tensor) -> None:
        """Copy without waiting for the device, from the host through two pinned buffers in turn."""
        if images.device.type != "cpu":
            target.copy_(images, non_blocking=True)
            return
        staging = self._staging.pop(0)
        self._staging.append(staging)
        staging.read.synchronize()  # an upload two calls ago; before the first there is nothing
        pinned = staging.memory[: target.nbytes].view(target.dtype).view(target.shape)
        pinned.copy_(images)
        target.copy_(pinned, non_blocking=True)
        staging.read.record()


@contextmanager
def _repeatable_convolutions() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = True, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


class CudaRuntime:
    """Anomaly maps of images of a fixed size on a CUDA device.

    The whole way from pixels to map is a CUDA graph over static buffers: one for each of
    ``BATCH_SIZES`` and each type of pixels, captured when the runtime is made. They share the
    weights and one pool of memory. Any number of images is split into these sizes, the largest
    first, so that no image is computed that was not given. The host waits for nothing: images go
    through two pinned buffers in turn, and the maps are on the device. Calls from several threads
    and streams take turns. Results repeat to the bit in batches of one size; between batch sizes
    they may differ by rounding. **No GPU has run this so far**: arithmetic and splitting are
    proven on the CPU, upload and graphs are not.

    Args:
        trained: the network, on any device.
        size: height and width of the images in pixels.
        device: a CUDA device.
        precision: ``"half"`` or ``"bfloat16"`` on tensor cores, ``"tf32"`` (float32 with rounded
            products), or exact ``"float32"``.

    Raises:
        InputError: the device is not a CUDA device.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int],
        device: torch.device,
        precision: Precision = "half",
    ) -> None:
        if device.type != "cuda":
            raise InputError(f"the device is {device}: this runtime needs a CUDA device.")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.device = device
        self.size = size
        self.at_once = BATCH_SIZES[0]
        self.precision = precision
        self.plan = CudaPlan.of(trained.network, size, precision)
        self.frozen = FrozenNetwork(trained, device, DTYPES[precision])
        largest = BATCH_SIZES[0] * size[0] * size[1] * 3 * torch.uint16.itemsize
        recorder = CudaRecorder(device, largest, allow_tf32=precision == "tf32")
        self._network = ReplayedNetwork(self.frozen, size, BATCH_SIZES, recorder)

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map; nothing waits for the device.

        Args:
            images: ``[B, H, W, 3]``, uint8 or uint16, on the host or the device, any ``B``.

        Returns:
            ``[B, h, w]``, float32, on the device.

        Raises:
            InputError: the images have another type or size.
        """
        return self._network(images)

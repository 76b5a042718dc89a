"""The ``cuda`` backend: kernels of ``csrc`` behind a plain C interface, called by ctypes.

Each function brings its tensors into one memory format, allocates the results and the workspace,
and launches on the current stream of the tensors' device. Nothing waits for the device.
"""

import torch

from pyramidflow.ops.backend import Backend, Status
from pyramidflow.ops.libraries import cuda, loading, targets


class CudaBackend(Backend):
    """The compiled CUDA library; what it leaves out, Triton's kernels compute where they can."""

    name = "cuda"
    devices = frozenset({"cuda"})
    dtypes = frozenset({torch.float32, torch.float16, torch.bfloat16})
    lenders = ("triton",)
    shared = "compiled"

    def status(self) -> Status:
        """Whether the kernels are built and a device is there to run them."""
        try:
            cuda.check()
        except loading.LibraryError as error:
            return Status(False, str(error))
        if not torch.cuda.is_available():
            build = (
                "PyTorch finds no CUDA device" if torch.version.cuda else "PyTorch is a CPU build"
            )
            return Status(False, f"{build}: check `nvidia-smi` and the PyTorch wheel.", _details())
        reason = targets.reason_against(
            torch.cuda.get_device_name(),
            torch.cuda.get_device_capability(),
            cuda.architectures(),
        ) or targets.reason_against_driver(cuda.driver_version(), cuda.runtime_version())
        return Status(not reason, reason or f"{torch.cuda.get_device_name()}.", _details())


def _details() -> dict[str, str]:
    return {
        "compiler": cuda.compiler(),
        "architectures": targets.readable(cuda.architectures()),
        "runtime": targets.version(cuda.runtime_version()),
        "driver": targets.version(cuda.driver_version()),
        "sources": loading.source_digest(cuda.loaded(), "cuda"),
    }


BACKEND = CudaBackend()

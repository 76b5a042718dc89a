"""The CUDA backend: kernels of ``csrc/cuda`` behind a plain C interface, called by ctypes.

Each function brings its tensors into one memory format, allocates the results and the workspace,
and launches on the current stream of the tensors' device. Nothing waits for the device.
"""

import torch

from pyramidflow.ops import library
from pyramidflow.ops.backend_cuda import compiled, targets
from pyramidflow.ops.backend_cuda.convolution import (
    invertible_conv1x1,
    invertible_conv1x1_backward,
)
from pyramidflow.ops.backend_cuda.coupling import (
    affine_coupling,
    affine_coupling_backward,
    affine_coupling_inverse,
    affine_coupling_inverse_backward,
    conv_coupling_conv1x1,
    coupling_conv1x1,
    coupling_conv1x1_backward,
)
from pyramidflow.ops.backend_cuda.image import (
    anomaly_map,
    anomaly_map_backward,
    normalize_image,
)
from pyramidflow.ops.backend_cuda.pyramid import (
    pyramid_down,
    pyramid_down_backward,
    pyramid_merge,
    pyramid_residual,
    pyramid_up_backward,
)
from pyramidflow.ops.convolution.direct import conv2d, conv2d_backward
from pyramidflow.ops.dispatch import Status

__all__ = [
    "DEVICES",
    "DTYPES",
    "affine_coupling",
    "affine_coupling_backward",
    "affine_coupling_inverse",
    "affine_coupling_inverse_backward",
    "anomaly_map",
    "anomaly_map_backward",
    "conv2d",
    "conv2d_backward",
    "conv_coupling_conv1x1",
    "coupling_conv1x1",
    "coupling_conv1x1_backward",
    "invertible_conv1x1",
    "invertible_conv1x1_backward",
    "normalize_image",
    "pyramid_down",
    "pyramid_down_backward",
    "pyramid_merge",
    "pyramid_residual",
    "pyramid_up_backward",
    "status",
]


DEVICES = frozenset({"cuda"})
DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})


def status() -> Status:
    """Whether the kernels are built and a device is there to run them."""
    try:
        compiled.loaded()
    except library.LibraryError as error:
        return Status(False, str(error))
    if not torch.cuda.is_available():
        build = "PyTorch finds no CUDA device" if torch.version.cuda else "PyTorch is a CPU build"
        return Status(False, f"{build}: check `nvidia-smi` and the PyTorch wheel.", _details())
    reason = targets.reason_against(
        torch.cuda.get_device_name(),
        torch.cuda.get_device_capability(),
        compiled.text("architectures"),
    ) or targets.reason_against_driver(
        compiled.run("driver_version"), compiled.run("runtime_version")
    )
    return Status(not reason, reason or f"{torch.cuda.get_device_name()}.", _details())


def _details() -> dict[str, str]:
    return {
        "compiler": compiled.text("compiler"),
        "architectures": targets.readable(compiled.text("architectures")),
        "runtime": targets.version(compiled.run("runtime_version")),
        "driver": targets.version(compiled.run("driver_version")),
        "sources": library.source_digest(compiled.loaded(), "cuda"),
    }

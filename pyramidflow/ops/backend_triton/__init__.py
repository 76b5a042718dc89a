"""The Triton backend: allocates results, launches the kernels of ``pyramidflow.kernels``.

Sums that cross programs are taken in two stages, the second by PyTorch: no atomics, so a result
repeats to the bit on one device.
"""

from functools import cache

import torch
import triton

from pyramidflow.ops.backend_triton.convolution import (
    invertible_conv1x1,
    invertible_conv1x1_backward,
)
from pyramidflow.ops.backend_triton.coupling import (
    affine_coupling,
    affine_coupling_backward,
    affine_coupling_inverse,
    affine_coupling_inverse_backward,
    conv_coupling_conv1x1,
    coupling_conv1x1,
    coupling_conv1x1_backward,
)
from pyramidflow.ops.backend_triton.image import (
    anomaly_map,
    anomaly_map_backward,
    normalize_image,
)
from pyramidflow.ops.backend_triton.launch import INTERPRETED
from pyramidflow.ops.backend_triton.pyramid import (
    pyramid_down,
    pyramid_down_backward,
    pyramid_merge,
    pyramid_residual,
    pyramid_up_backward,
)
from pyramidflow.ops.convolution.direct import conv2d, conv2d_backward
from pyramidflow.ops.dispatch import Status, one_line

__all__ = [
    "DEVICES",
    "DTYPES",
    "INTERPRETED",
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


DEVICES = {"cuda", "xpu", "cpu"} if INTERPRETED else {"cuda", "xpu"}
DTYPES = {torch.float32, torch.float16, torch.bfloat16}


@cache
def status() -> Status:
    """Whether Triton finds a device to compile for."""
    if INTERPRETED:
        return Status(
            True, f"Triton {triton.__version__}, in its interpreter (TRITON_INTERPRET=1)."
        )
    try:
        target = triton.runtime.driver.active.get_current_target()
    except Exception as error:  # of Triton, of a driver's library, of a compiler that is not there
        return Status(
            False,
            f"Triton {triton.__version__} finds no device to compile for ({one_line(error)}): run "
            "on a GPU with its driver.",
        )
    return Status(
        True,
        f"Triton {triton.__version__} on {target.backend}:{target.arch}.",
        {"triton": triton.__version__, "target": f"{target.backend}:{target.arch}"},
    )

"""The Triton backend: allocates results for the kernels of ``pyramidflow.kernels``.

Sums that cross programs are taken in two stages, the second by PyTorch: no atomics, so a result
repeats to the bit on one device.
"""

from typing import TYPE_CHECKING

import torch
import triton

from pyramidflow.ops.backend import Backend, Status
from pyramidflow.ops.dispatch import one_line

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels.tuning import INTERPRETED
else:
    from pyramidflow.kernels.tuning import INTERPRETED


class TritonBackend(Backend):
    """Kernels that Triton compiles for the device."""

    name = "triton"
    devices = frozenset({"cuda", "xpu", "cpu"} if INTERPRETED else {"cuda", "xpu"})
    dtypes = frozenset({torch.float32, torch.float16, torch.bfloat16})

    def status(self) -> Status:
        """Whether Triton finds a device to compile for."""
        if INTERPRETED:
            return Status(
                True, f"Triton {triton.__version__}, in its interpreter (TRITON_INTERPRET=1)."
            )
        try:
            target = triton.runtime.driver.active.get_current_target()
        except Exception as error:  # of Triton, of a driver, of a compiler that is not there
            return Status(
                False,
                f"Triton {triton.__version__} finds no device to compile for ({one_line(error)}): "
                "run on a GPU with its driver.",
            )
        return Status(
            True,
            f"Triton {triton.__version__} on {target.backend}:{target.arch}.",
            {"triton": triton.__version__, "target": f"{target.backend}:{target.arch}"},
        )


BACKEND = TritonBackend()

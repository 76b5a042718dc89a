"""The ``cpu`` backend: float32 kernels in C++ (``csrc``), in the compiled library.

The kernels take dense tensors of one memory format, that of the operation's first tensor; operands
that are in another one are copied.
"""

import torch

from pyramidflow.ops.backend import Backend, Status
from pyramidflow.ops.libraries import cpu, loading


class CpuBackend(Backend):
    """The compiled CPU library."""

    name = "cpu"
    devices = frozenset({"cpu"})
    dtypes = frozenset({torch.float32})
    shared = "compiled"

    def status(self) -> Status:
        """Whether the compiled library is there, and what it was compiled with."""
        try:
            cpu.check()
            level, compiler = cpu.level(), cpu.compiler()
        except loading.LibraryError as error:
            return Status(False, str(error))
        details = {
            "instruction set": level,
            "compiler": compiler,
            "sources": loading.source_digest(loading.load("cpu"), "cpu"),
        }
        return Status(True, f"compiled kernels, float32, {level}.", details)


BACKEND = CpuBackend()

"""The functions of the compiled CUDA library, called with tensors and numbers.

``csrc/cuda/pyramidflow_cuda.h`` says what each one does.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pyramidflow.ops import allocation, library
from pyramidflow.ops.allocation import memory_format

INTERFACE = 0x9DE0DE1F97EF141
"""Of ``csrc/cuda/pyramidflow_cuda.h``, as declared here; see ``interface`` in ``setup.py``."""

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class Coupling(ctypes.Structure):
    """``pyramidflow_coupling`` of the C interface."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                "batch",
                "channels",
                "height",
                "width",
                "params_height",
                "params_width",
                "mean_given",
                "mean_stride_sample",
                "mean_stride_channel",
                "mean_stride_pixel",
                "volume_norm",
                "statistics",
                "type",
                "channels_last",
            )
        ),
        ("clamp", ctypes.c_float),
    ]


def kind(x: Tensor) -> tuple[int, int]:
    """Element type and memory format of a dense tensor, as the library counts them."""
    return TYPES[x.dtype], int(memory_format(x) == torch.channels_last)


def new_workspace(like: Tensor, floats: int) -> Tensor:
    """Memory for intermediate sums, on the device of ``like``."""
    return allocation.empty((floats,), like=like, dtype=torch.float32)


def run(name: str, *arguments: object) -> int:
    """What the function returns: an error, a version, or a size."""
    function = getattr(loaded(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_int64
    return int(function(*map(_as_c, arguments)))


def text(name: str, *arguments: object) -> str:
    """What the function says."""
    function = getattr(loaded(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_char_p
    said: bytes = function(*map(_as_c, arguments))
    return said.decode()


def call(name: str, *arguments: object) -> None:
    """Launch on the current stream of the first tensor's device; its error has CUDA's name."""
    first = next(x for x in arguments if isinstance(x, Tensor))
    with _current(first) as stream:
        error = run(name, *arguments, ctypes.c_void_p(stream))
    if error != 0:
        reason = text("error_name", error)
        raise RuntimeError(f"the CUDA kernel of {name} did not launch: {reason}.")


def loaded() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        LibraryError: it was not built, does not load, or was built for other declarations.
    """
    return library.load("cuda", INTERFACE)


def _as_c(argument: object) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return argument if argument is not None else ctypes.c_void_p(None)


@contextmanager
def _current(x: Tensor) -> Iterator[int]:
    if not x.is_cuda:
        yield 0  # the kernels compiled for the host
        return
    with torch.cuda.device(x.device):
        run("set_device", x.device.index)
        yield torch.cuda.current_stream(x.device).cuda_stream

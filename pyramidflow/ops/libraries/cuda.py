"""The compiled CUDA library: its functions are declared where they are used.

:func:`kernel` declares one that launches, :func:`query` one that answers.
``csrc/cuda/pyramidflow_cuda.h`` says what each one does.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import memory_format
from pyramidflow.ops.libraries import loading

P = ParamSpec("P")

DECLARED: dict[str, Callable[..., int | None]] = {}
"""Every function of the library that a module which was imported declares."""

INTERFACE = 0x9DE0DE1F97EF141
"""Of ``csrc/cuda/pyramidflow_cuda.h``, as declared here; see ``interface`` in ``setup.py``."""

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


def kind(x: Tensor) -> tuple[int, int]:
    """Element type and memory format of a dense tensor, as the library counts them."""
    return TYPES[x.dtype], int(memory_format(x) == torch.channels_last)


def new_workspace(like: Tensor, floats: int) -> Tensor:
    """Memory for intermediate sums, on the device of ``like``."""
    return allocation.empty((floats,), like=like, dtype=torch.float32)


def kernel(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a declaration launch a kernel on the current stream of the first tensor's device.

    Tensors are passed as pointers, ``None`` as a null pointer, structures by reference. Every
    function takes the stream last: the declaration leaves it out.

    Args:
        name: of the library's function, without its prefix.

    Returns:
        A decorator of a function without a body. What it makes raises a ``RuntimeError`` with
        CUDA's name for an error of the launch.
    """

    def declare(declared: Callable[P, None]) -> Callable[P, None]:
        DECLARED[name] = declared

        @wraps(declared)
        def run(*arguments: P.args, **named: P.kwargs) -> None:
            first = next(x for x in arguments if isinstance(x, Tensor))
            with _current(first) as stream:
                error = _number(name, *arguments, ctypes.c_void_p(stream))
            if error != 0:
                reason = _text("error_name", error)
                raise RuntimeError(f"the CUDA kernel of {name} did not launch: {reason}.")

        return run

    return declare


def query(name: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a declaration ask the library for a number, as a size or a version.

    Args:
        name: of the library's function, without its prefix.
    """

    def declare(declared: Callable[P, int]) -> Callable[P, int]:
        DECLARED[name] = declared

        @wraps(declared)
        def run(*arguments: P.args, **named: P.kwargs) -> int:
            return _number(name, *arguments)

        return run

    return declare


@query("driver_version")
def driver_version() -> int:
    """Newest CUDA version that the driver knows, ``12040`` for 12.4; 0 without a driver."""


@query("runtime_version")
def runtime_version() -> int:
    """CUDA version of the build."""


@query("set_device")
def _set_device(device: int) -> int: ...


def compiler() -> str:
    """Version of the compiler that made the library."""
    return _text("compiler")


def architectures() -> str:
    """Architectures that the library was built for: ``"75_80_120PTX"``."""
    return _text("architectures")


def loaded() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        LibraryError: it was not built, does not load, or was built for other declarations.
    """
    return loading.load("cuda", INTERFACE)


def _number(name: str, *arguments: object) -> int:
    function = getattr(loaded(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_int64
    return int(function(*map(_as_c, arguments)))


def _text(name: str, *arguments: object) -> str:
    function = getattr(loaded(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_char_p
    said: bytes = function(*map(_as_c, arguments))
    return said.decode()


def _as_c(argument: object) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return argument if argument is not None else ctypes.c_void_p(None)


@contextmanager
def _current(x: Tensor) -> Iterator[int]:
    if not x.is_cuda:
        yield 0  # the kernels compiled for the host
        return
    with torch.cuda.device(x.device):
        _set_device(x.device.index)
        yield torch.cuda.current_stream(x.device).cuda_stream

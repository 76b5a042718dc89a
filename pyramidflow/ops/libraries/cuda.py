"""The compiled CUDA library: its functions are declared where they are used.

:func:`kernel` declares one that launches, :func:`query` one that answers.
``csrc/cuda/api.cuh`` says what holds of all; what each one does stands where it is defined.
"""

import ctypes
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import memory_format
from pyramidflow.ops.libraries import loading
from pyramidflow.ops.libraries.declaration import POINTER, SIZE, Sizes, as_declared, sizes_named

P = ParamSpec("P")

DECLARED: dict[str, Callable[..., int | None]] = {}
"""Every function of the library that a module which was imported declares."""

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class Level(Sizes):
    """Sizes, element type and memory format of a level."""

    _fields_ = sizes_named("batch channels height width type channels_last")


def level_of(x: Tensor) -> Level:
    """The description of a dense tensor ``[B, C, H, W]``."""
    return Level(*x.shape, TYPES[x.dtype], memory_format(x) == torch.channels_last)


def new_workspace(like: Tensor, floats: int) -> Tensor:
    """Memory for intermediate sums, on the device of ``like``."""
    return allocation.empty((floats,), like=like, dtype=torch.float32)


def kernel(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a declaration launch a kernel on the current stream of the first tensor's device.

    Tensors are passed as pointers, ``None`` as a null pointer, structures by value. Every
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
                error = _number(name, *arguments, stream)
            if error != 0:
                number, said = SIZE(error), "pyramidflow_cuda_error_name"
                reason = loading.said(loaded(), "cuda", said, number)
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
    return loading.said(loaded(), "cuda", "pyramidflow_cuda_compiler")


def architectures() -> str:
    """Architectures that the library was built for: ``"75_80_120PTX"``."""
    return loading.said(loaded(), "cuda", "pyramidflow_cuda_architectures")


def loaded() -> ctypes.CDLL:
    """The compiled library.

    Raises:
        LibraryError: it was not built, does not load, or was built from other sources.
    """
    return loading.load("cuda")


def check() -> None:
    """Compare what was declared with the library.

    Raises:
        LibraryError: it was not built, or it was built for other declarations.
    """
    for name, declared in DECLARED.items():
        _bind(loaded(), name, declared)


@cache
def _bind(library: ctypes.CDLL, name: str, declared: Callable[..., int | None]) -> Any:
    symbol = f"pyramidflow_cuda_{name}"
    function, types = as_declared(library, "cuda", symbol, declared, Level, last="stream")
    stream = [POINTER] if typing.get_type_hints(declared)["return"] is type(None) else []
    function.argtypes, function.restype = [*types, *stream], SIZE
    return function


def _number(name: str, *arguments: object) -> int:
    function = _bind(loaded(), name, DECLARED[name])
    return int(function(*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)))


@contextmanager
def _current(x: Tensor) -> Iterator[int]:
    if not x.is_cuda:
        yield 0  # the kernels compiled for the host
        return
    with torch.cuda.device(x.device):
        _set_device(x.device.index)
        yield torch.cuda.current_stream(x.device).cuda_stream

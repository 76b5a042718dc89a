"""The compiled CPU library: its functions are declared where they are used, with :func:`function`.

``csrc/cpu`` says what each one does and what the numbers of a structure are.
"""

import ctypes
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.allocation import memory_format
from pyramidflow.ops.libraries import loading
from pyramidflow.ops.libraries.declaration import SIZE, Sizes, as_declared, sizes_named

P = ParamSpec("P")

DECLARED: dict[str, Callable[..., None]] = {}
"""Every function of the library that a module which was imported declares."""


class Image(Sizes):
    """Sizes and memory format of a tensor."""

    _fields_ = sizes_named("batch channels height width channels_last")


def image_of(x: Tensor) -> Image:
    """The description of a dense tensor ``[B, C, H, W]``."""
    return Image(*x.shape, is_channels_last(x))


def is_channels_last(x: Tensor) -> bool:
    """Whether a dense tensor is in channels-last order."""
    return memory_format(x) is torch.channels_last


def function(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a declaration call the library's function of a name.

    Tensors are passed as pointers, ``None`` as a null pointer, structures by value. Every function
    takes a number of threads last: PyTorch's, unless the declaration ends in ``threads`` and is
    called with it.

    Args:
        name: in the library, without its prefix.

    Returns:
        A decorator of a function without a body. What it makes raises a ``MemoryError`` where the
        kernel could not get its scratch memory, and an ``InputError`` for less than one thread.
    """

    def declare(declared: Callable[P, None]) -> Callable[P, None]:
        bound: dict[str, Any] = {}
        DECLARED[name] = declared

        @wraps(declared)
        def run(*arguments: P.args, **named: P.kwargs) -> None:
            level = _prefix()
            if level not in bound:
                bound[level] = bind(name, declared)
            threads = named.get("threads")
            if threads is None:
                threads = torch.get_num_threads()
            elif threads < 1:  # type: ignore[operator]
                raise InputError(
                    f"threads is {threads}: give one at least, or None for PyTorch's number."
                )
            pointers = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
            if bound[level](*pointers, threads) != 0:
                raise MemoryError(f"no memory for the scratch buffers of {name}.")

        return run

    return declare


def bind(name: str, declared: Callable[..., None]) -> Any:
    """The library's function of a name, as it is declared.

    Raises:
        LibraryError: it is not there, or the library declares it otherwise.
    """
    symbol, library = f"pyramidflow_cpu_{_prefix()}_{name}", loading.load("cpu")
    function, types = as_declared(library, "cpu", symbol, declared, Image, last="threads")
    function.argtypes, function.restype = [*types, SIZE], ctypes.c_int
    return function


def check() -> None:
    """Compare what was declared with the library.

    Raises:
        LibraryError: it was not built, or it was built for other declarations.
    """
    for name, declared in DECLARED.items():
        bind(name, declared)


@cache
def _prefix() -> str:
    return loading.said(loading.load("cpu"), "cpu", "pyramidflow_cpu_prefix")


def level() -> str:
    """Name of the instruction set that the kernels use."""
    return loading.said(loading.load("cpu"), "cpu", "pyramidflow_cpu_level")


def limit_level(limit: int) -> int:
    """Let the kernels use no better instruction set than one, counted from the baseline's 0.

    Returns:
        The one that they use.
    """
    _prefix.cache_clear()
    return int(loading.load("cpu").pyramidflow_cpu_limit_level(limit))


def compiler() -> str:
    """Version of the compiler that made the library."""
    return loading.said(loading.load("cpu"), "cpu", "pyramidflow_cpu_compiler")


def has_bfloat16() -> bool:
    """Whether this processor has products of bfloat16 (AVX-512 BF16), and the library uses them."""
    return bool(loading.load("cpu").pyramidflow_cpu_has_bfloat16())

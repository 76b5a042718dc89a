"""The compiled libraries: where they are, how they load, and why one is missing.

They are plain C, so ``ctypes`` is enough. Nothing loads on import; a library that is missing says
so when it is asked for.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
"""Where the build puts the libraries."""

OPENMP_RUNTIMES = ("libgomp", "libiomp", "libomp")


class LibraryError(RuntimeError):
    """A compiled library is missing or cannot be used, and what to do about it."""


def path(name: str) -> Path:
    """File of the compiled library ``name`` (``"cpu"``, ``"cuda"``), present or not."""
    return FOLDER / f"libpyramidflow_{name}.so"


@cache
def load(name: str, interface: int) -> ctypes.CDLL:
    """Load a compiled library.

    Args:
        name: ``"cpu"`` or ``"cuda"``.
        interface: number of the C interface that the caller declares.

    Raises:
        LibraryError: it was not built, does not load, or has another interface.
    """
    file = path(name)
    if not file.exists():
        raise LibraryError(
            f"this installation has no compiled {name} library ({file.name}): install again from "
            f"source with PYRAMIDFLOW_{name.upper()}=1 to see what the build lacks."
        )
    try:
        share_openmp_runtime()
        loaded = ctypes.CDLL(str(file))
    except OSError as error:
        raise LibraryError(
            f"the compiled {name} library does not load ({error}): install again from source on "
            "this machine."
        ) from error
    found = _interface(loaded, name)
    if found != interface:
        raise LibraryError(
            f"the compiled {name} library was built for other Python code than this (interface "
            f"{found:#x} instead of {interface:#x}): install again from source."
        )
    return loaded


def _interface(loaded: ctypes.CDLL, name: str) -> int:
    function = getattr(loaded, f"pyramidflow_{name}_interface", None)
    if function is None:
        return 0
    function.restype = ctypes.c_int64
    return int(function())


def share_openmp_runtime() -> None:
    """Let the libraries use the OpenMP runtime that PyTorch has brought along.

    They name no runtime of their own: a second one in the process would have a second pool of
    threads, and the two would wait for each other's processors.
    """
    mapped = Path("/proc/self/maps")
    lines = mapped.read_text().splitlines() if mapped.exists() else []
    files = {line.split(maxsplit=5)[5] for line in lines if line.count("/")}
    loaded = [f for f in files if Path(f).name.startswith(OPENMP_RUNTIMES)]
    # Other packages bring runtimes too.
    loaded.sort(key=lambda f: (not Path(f).is_relative_to(Path(torch.__file__).parent), f))
    ctypes.CDLL(loaded[0] if loaded else "libgomp.so.1", mode=ctypes.RTLD_GLOBAL)

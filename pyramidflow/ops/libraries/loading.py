"""The compiled libraries: where they are, how they load, and why one is missing.

They are plain C, so ``ctypes`` is enough. Nothing loads on import; a library that is missing says
so when it is asked for.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pyramidflow.ops.libraries import sources

FOLDER = Path(__file__).parents[1]
"""Where the build puts the libraries."""

OPENMP_RUNTIMES = (b"libgomp", b"libiomp", b"libomp")

MAPS = Path("/proc/self/maps")
"""Files that this process has in memory, on Linux."""


class LibraryError(RuntimeError):
    """A compiled library is missing or cannot be used, and what to do about it."""


def path(name: str) -> Path:
    """File of the compiled library ``name`` (``"cpu"``, ``"cuda"``), present or not."""
    return FOLDER / f"libpyramidflow_{name}.so"


@cache
def load(name: str) -> ctypes.CDLL:
    """Load a compiled library.

    Args:
        name: ``"cpu"`` or ``"cuda"``.

    Raises:
        LibraryError: it was not built, does not load, or was built from other sources than those
            beside it.
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
    _check_sources(loaded, name, file.parents[2])
    return loaded


def symbol(library: ctypes.CDLL, name: str, function: str) -> Any:
    """A function of a library.

    Raises:
        LibraryError: it is not there.
    """
    try:
        return getattr(library, function)
    except AttributeError as error:
        raise _of_other_code(name, function) from error


def kept_text(library: ctypes.CDLL, name: str, text: str) -> str:
    """A text that a library keeps.

    Raises:
        LibraryError: it is not there.
    """
    try:
        start = ctypes.c_char.in_dll(library, text)
    except ValueError as error:
        raise _of_other_code(name, text) from error
    return ctypes.string_at(ctypes.addressof(start)).decode()


def said(library: ctypes.CDLL, name: str, function: str, *arguments: object) -> str:
    """What a function of a library answers in words."""
    found = symbol(library, name, function)
    found.restype = ctypes.c_char_p
    words: bytes = found(*arguments)
    return words.decode()


def _of_other_code(name: str, missing: str) -> LibraryError:
    return LibraryError(
        f"the compiled {name} library was built for other Python code than this ({missing} is not "
        "in it): install again from source."
    )


def source_digest(loaded: ctypes.CDLL, name: str) -> str:
    """Hash of the sources that a library was built from; empty if it does not say."""
    function = f"pyramidflow_{name}_sources"
    if not hasattr(loaded, function):
        return ""
    return said(loaded, name, function).removeprefix("h")


def _check_sources(loaded: ctypes.CDLL, name: str, root: Path) -> None:
    if not sources.folder(root).is_dir():
        return  # an installed package has no sources to differ from
    found, present = source_digest(loaded, name), sources.digest(root, name)
    if found != present:
        raise LibraryError(
            f"the compiled {name} library was built from other sources than those in "
            f"{sources.folder(root)} (hash {found or 'unknown'} instead of {present}): build it "
            "again with `pip install -e .`."
        )


def share_openmp_runtime() -> None:
    """Let the libraries use the OpenMP runtime that PyTorch has brought along.

    They name no runtime of their own: a second one in the process would have a second pool of
    threads, and the two would wait for each other's processors.
    """
    # Names in bytes: a path need not be text in the locale's encoding.
    packages = os.fsencode(Path(torch.__file__).parent)
    # Other packages bring runtimes too.
    loaded = sorted(_openmp_runtimes(), key=lambda file: (not file.startswith(packages), file))
    name = os.fsdecode(loaded[0]) if loaded else "libgomp.so.1"
    ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)


def _openmp_runtimes() -> set[bytes]:
    try:
        lines = MAPS.read_bytes().splitlines()
    except OSError:
        return set()
    files = {line.split(maxsplit=5)[5] for line in lines if b"/" in line}
    present = {file for file in files if not file.endswith(b" (deleted)")}
    return {file for file in present if os.path.basename(file).startswith(OPENMP_RUNTIMES)}

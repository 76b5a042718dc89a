"""The CUDA sources as a library of the host: compiled unchanged, called by the CUDA backend."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from pyramidflow import ops
from pyramidflow.ops import dispatch
from pyramidflow.ops.backend.cuda import CudaBackend
from pyramidflow.ops.libraries import cuda, sources
from tests.support.builds import folder_of
from tests.support.places import ROOT

# A test can be pointed at a library that another program built: the mutation script does so.
LIBRARY_VARIABLE = "PYRAMIDFLOW_HOST_LIBRARY"


class MissingError(Exception):
    """What is needed to build the library, and is not here."""


def build(*flags: str) -> Path:
    """Compile the host library unless one of the same sources and flags is there."""
    if not (ROOT / "csrc").is_dir():
        raise MissingError("csrc is not here: the CUDA sources come with the repository only")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise MissingError("g++ is not installed: it compiles the CUDA sources for the host")
    units = [file for file in sources.files(ROOT, "cuda") if file.suffix == ".cu"]
    host = ROOT / "csrc" / "host"
    read = [*sources.files(ROOT, "cuda"), *host.iterdir()]
    library = folder_of("cuda-host", read, flags) / "libcuda_host.so"
    if not library.exists():
        unfinished = library.with_suffix(f".{os.getpid()}")
        command = [
            compiler,
            *("-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"),
            *("-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"),
            *("-Wno-unknown-pragmas", *flags),
            *("-I", str(host), "-I", str(ROOT / "csrc"), str(host / "launcher.cpp")),
            *("-x", "c++", *map(str, units)),
            *("-o", str(unfinished)),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        unfinished.rename(library)
    return library


def library_path() -> Path:
    """The library to test."""
    given = os.environ.get(LIBRARY_VARIABLE)
    return Path(given) if given else build()


def library_or_skip() -> Path:
    """The library to test; the test is skipped, or fails, where it cannot be built."""
    import pytest

    from tests.support.backends import unproven

    if not (ROOT / "csrc").is_dir():
        pytest.skip("csrc is not here: it comes with the repository only")
    try:
        return library_path()
    except MissingError as error:
        return unproven(str(error))


@contextmanager
def library(path: Path) -> Iterator[None]:
    """Let the CUDA backend call this library."""
    host = ctypes.CDLL(str(path))
    with mock.patch.object(cuda, "loaded", return_value=host):
        yield


def launches(path: Path) -> dict[str, int]:
    """Symbols of the kernels that a library launched since the last call.

    Returns:
        The most bytes of shared memory that each asked for.
    """
    host = ctypes.CDLL(str(path))
    capacity = 1000
    kernels, shared_bytes = (ctypes.c_void_p * capacity)(), (ctypes.c_int64 * capacity)()
    host.pyramidflow_host_launches.restype = ctypes.c_int64
    count = host.pyramidflow_host_launches(kernels, shared_bytes, ctypes.c_int64(capacity))
    assert count <= capacity
    listed = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    symbols = {
        int(words[0], 16): words[2] for words in map(str.split, listed.splitlines()) if words[2:]
    }
    known = next(offset for offset, name in symbols.items() if name == "pyramidflow_cuda_sources")
    function = ctypes.cast(host.pyramidflow_cuda_sources, ctypes.c_void_p).value
    assert function is not None
    base = function - known
    return {symbols[(kernels[i] or 0) - base]: shared_bytes[i] for i in range(count)}


@contextmanager
def backend(path: Path) -> Iterator[None]:
    """Run the operations on CPU tensors in the CUDA backend, with this library."""
    dispatch._select.cache_clear()
    try:
        with (
            library(path),
            mock.patch.object(CudaBackend, "devices", frozenset({"cpu"})),
            mock.patch.object(dispatch, "require", return_value=dispatch.load("cuda")),
            ops.use_backend("cuda"),
        ):
            yield
    finally:
        dispatch._select.cache_clear()

"""The CPU kernels under AddressSanitizer, every instruction set, with several threads."""

import shutil
import tempfile
from pathlib import Path

import pytest

from pyramidflow.ops.libraries import sources
from tests.support.backends import require_backend, unproven
from tests.support.builds import build_script, folder_of
from tests.support.places import ROOT
from tests.support.sanitizers import run_with

require_backend("cpu")

# Checks by calls: the code compiles in half the time.
CHECKS = "-fsanitize=address --param asan-instrumentation-with-call-threshold=0"
COMPILER = f"g++ {CHECKS} -fno-omit-frame-pointer -g1"


def build() -> Path:
    """Folder of the CPU library with the sanitizer's checks."""
    read = [*sources.files(ROOT, "cpu"), ROOT / "setup.py", Path(sources.__file__)]
    folder = folder_of("cpu-sanitized", read, [COMPILER])
    library = folder / "libpyramidflow_cpu.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as objects:
            unfinished = Path(objects) / library.name
            build_script()["build_cpu"](unfinished, Path(objects))
            unfinished.rename(library)
    return folder


def test_the_sanitizer_finds_nothing(monkeypatch) -> None:
    if not (ROOT / "setup.py").exists():
        pytest.skip("setup.py is not here: the build comes with the repository only")
    if shutil.which("g++") is None:
        unproven("g++ is not installed: it compiles for the sanitizers")
    monkeypatch.setenv("CXX", COMPILER)
    folder = build()
    monkeypatch.delenv("CXX")
    # An exception needs the C++ library when the sanitizer starts.
    output = run_with(("libasan.so", "libstdc++.so.6"), "cpu_sanitized", str(folder))
    assert " passed" in output

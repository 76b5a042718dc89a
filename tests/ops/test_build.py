"""The build of the compiled libraries, for a platform that is not at hand."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pyramidflow.ops import dispatch
from pyramidflow.ops.libraries.cpu import DECLARED
from tests.support.builds import build_script
from tests.support.places import ROOT

COMPILER = "aarch64-linux-gnu-g++"
AARCH64 = 183
"""``EM_AARCH64``, the machine in an ELF header."""


def test_cpu_kernels_build_for_aarch64(tmp_path, monkeypatch) -> None:
    if not (ROOT / "setup.py").exists():
        pytest.skip("setup.py is not here: the build comes with the repository only")
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed: it compiles for aarch64")
    monkeypatch.setenv("CXX", COMPILER)
    library = tmp_path / "libpyramidflow_cpu.so"
    build_script()["build_cpu"](library, tmp_path)
    header = library.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == AARCH64
    dispatch.left_out(dispatch.load("cpu"))  # every family's file is imported
    exported, missing = symbols(library, "--defined-only"), symbols(library, "--undefined-only")
    assert {f"pyramidflow_cpu_baseline_{name}" for name in DECLARED} <= exported
    assert not [name for name in missing if "pyramidflow" in name]


def symbols(library: Path, which: str) -> set[str]:
    command = ["aarch64-linux-gnu-nm", "--dynamic", which, str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listed.splitlines()}

"""Programs of this folder in a process of their own, with a sanitizer's runtime."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.backends import unproven
from tests.support.places import ROOT


def run_with(runtimes: tuple[str, ...], program: str, *arguments: str) -> str:
    """Output of a program that was run with libraries of the compiler loaded first.

    The test is skipped where one is missing (it fails under ``PYRAMIDFLOW_CPU=1``), and fails if
    the program does.
    """
    environment = os.environ | {
        "LD_PRELOAD": " ".join(_library(name) for name in runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    result = subprocess.run(
        [sys.executable, "-m", f"tests.support.{program}", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def _library(name: str) -> str:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        unproven("g++ is not installed: it compiles for the sanitizers")
    command = [compiler, f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        unproven(f"{name} is not installed: the sanitizers' runtime comes with g++")
    return path

"""Build of the compiled libraries; everything else about the package is in ``pyproject.toml``.

The libraries are plain C and are loaded with ``ctypes``: neither PyTorch nor the Python headers
take part. Without a C++ compiler or without nvcc the package installs all the same and says what it
lacks; ``PYRAMIDFLOW_CPU=1`` and ``PYRAMIDFLOW_CUDA=1`` make that an error, ``0`` skips a library.
"""

import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"

# Run from its file: the package that it belongs to needs PyTorch.
SOURCES: dict[str, Any] = runpy.run_path(
    str(ROOT / "pyramidflow" / "ops" / "libraries" / "sources.py")
)

CUDA_MAJORS = ("75", "80", "90", "100", "120")
"""Architectures of a build that knows of no GPU: every major version, the last one as PTX too."""


class MissingToolError(Exception):
    """A library cannot be built here, and why."""


def say(message: str) -> None:
    """Print where the user sees it: pip hides the standard output of a build."""
    print(f"pyramidflow: {message}", file=sys.stderr, flush=True)
    try:
        with open("/dev/tty", "w") as terminal:
            print(f"pyramidflow: {message}", file=terminal)
    except OSError:
        pass


def run(command: Sequence[str]) -> None:
    """Run a compiler; its messages become the error's."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise MissingToolError(f"{' '.join(command)} failed:\n{result.stderr or result.stdout}")
    if result.stderr:
        print(result.stderr, file=sys.stderr)


def run_all(commands: Iterable[Sequence[str]]) -> None:
    """Run compilers side by side, ``MAX_JOBS`` or one for each processor."""
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, commands))


def build_cpu(target: Path, build: Path) -> None:
    """Compile the C++ sources to one shared library for every instruction set of this platform."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    command = (compiler or "").split()
    if not command or shutil.which(command[0]) is None:
        raise MissingToolError("no C++ compiler found (g++, clang++, or CXX)")
    is_gnu = (
        "Free Software Foundation"
        in subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    )
    machine = platform.machine() if "CXX" not in os.environ else _target_machine(command)
    x86 = machine in ("x86_64", "AMD64")
    common = [*command, *SOURCES["CPU_FLAGS"], "-I", str(CSRC)]
    levels = SOURCES["LEVELS_X86"] if x86 else {"baseline": ()}
    compilers = {
        level: [*common, *flags, f"-DPYRAMIDFLOW_LEVEL={level}"] for level, flags in levels.items()
    }
    if is_gnu:
        compilers = _with_precompiled(CSRC / "cpu" / "system.h", compilers, build)
    found = [file for file in SOURCES["files"](ROOT, "cpu") if file.suffix == ".cpp"]
    once = CSRC / "cpu" / "dispatch.cpp"
    # The slowest file first: the last job to end then ends early.
    sources = sorted(set(found) - {once}, key=lambda source: -source.stat().st_size)
    jobs, objects = [], []
    for source in sources:
        for level, compiler_of_level in compilers.items():
            object_file = build / f"{source.stem}.{level}.o"
            jobs.append([*compiler_of_level, "-c", str(source), "-o", str(object_file)])
            objects.append(str(object_file))
    dispatch = build / "dispatch.o"
    digest = f"-DPYRAMIDFLOW_SOURCES=h{SOURCES['digest'](ROOT, 'cpu')}"
    jobs.append([*common, digest, "-c", str(once), "-o", str(dispatch)])
    run_all(jobs)
    # GNU's OpenMP symbols are left open: they are found in the runtime that PyTorch brings along.
    openmp = [] if is_gnu else ["-fopenmp"]
    run([*command, "-shared", *objects, str(dispatch), *openmp, "-o", str(target)])


def _with_precompiled(
    header: Path, compilers: dict[str, list[str]], build: Path
) -> dict[str, list[str]]:
    """Compile a header once for each instruction set: GNU's compiler then need not read it."""
    compiled = {level: build / level / header.name for level in compilers}
    for file in compiled.values():
        file.parent.mkdir()
    run_all(
        [*compiler, "-x", "c++-header", str(header), "-o", f"{compiled[level]}.gch"]
        for level, compiler in compilers.items()
    )
    return {
        level: [*compiler, "-include", str(compiled[level])]
        for level, compiler in compilers.items()
    }


def _target_machine(command: Sequence[str]) -> str:
    found = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True).stdout
    return found.partition("-")[0]


def build_cuda(target: Path, build: Path) -> None:
    """Compile the CUDA sources to one shared library for the GPUs of :func:`cuda_architectures`."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None) or shutil.which("nvcc")
    if nvcc is None:
        raise MissingToolError("no nvcc found (PATH, CUDA_HOME)")
    sources = [file for file in SOURCES["files"](ROOT, "cuda") if file.suffix == ".cu"]
    digest = f"-DPYRAMIDFLOW_SOURCES=h{SOURCES['digest'](ROOT, 'cuda')}"
    flags = [*SOURCES["CUDA_FLAGS"], digest, "-I", str(CSRC)]
    gencode = []
    architectures = cuda_architectures(nvcc)
    # nvcc would split the flag at a comma.
    listed = "_".join(architectures).replace("+", "")
    flags.append(f"-DPYRAMIDFLOW_ARCHITECTURES={listed}")
    for architecture in architectures:
        number, _, ptx = architecture.partition("+")
        gencode += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        if ptx:
            gencode += ["-gencode", f"arch=compute_{number},code=compute_{number}"]
    objects = [build / f"{source.stem}.cuda.o" for source in sources]
    run_all(
        [
            [nvcc, *flags, *gencode, "-c", str(source), "-o", str(object_file)]
            for source, object_file in zip(sources, objects, strict=True)
        ]
    )
    run([nvcc, "-shared", "-cudart", "static", *gencode, *map(str, objects), "-o", str(target)])


def cuda_architectures(nvcc: str) -> list[str]:
    """Architectures to compile for, as ``"90"``, with ``"+PTX"`` behind those kept as PTX too.

    ``PYRAMIDFLOW_CUDA_ARCHITECTURES``, else ``TORCH_CUDA_ARCH_LIST``, else the GPUs present, else
    every major version that this nvcc knows.
    """
    for variable in ("PYRAMIDFLOW_CUDA_ARCHITECTURES", "TORCH_CUDA_ARCH_LIST"):
        names = re.split(r"[\s;,]+", os.environ.get(variable, "").strip())
        if names != [""]:
            return [name.replace(".", "").removeprefix("sm_") for name in names]
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True)
        present = sorted({line.strip().replace(".", "") for line in found.stdout.splitlines()})
        if found.returncode == 0 and all(name.isdigit() for name in present) and present:
            return present
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True).stdout
    known = [major for major in CUDA_MAJORS if f"compute_{major}" in listed.split()]
    return [*known[:-1], f"{known[-1]}+PTX"] if known else ["75+PTX"]


BUILDERS = {"cpu": build_cpu, "cuda": build_cuda}

CONSEQUENCES = {
    "cpu": "operations run in plain PyTorch, several times slower",
    "cuda": "CPU only; on a GPU the Triton kernels or plain PyTorch are used",
}


class BuildLibraries(build_ext):
    """Build each compiled library where a Python extension module would go."""

    def get_ext_filename(self, fullname: str) -> str:
        """File of a library inside the package."""
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Build one library, or say why not."""
        name = ext.name.rpartition("_")[2]
        variable = f"PYRAMIDFLOW_{name.upper()}"
        target = Path(self.get_ext_fullpath(ext.name))
        target.unlink(missing_ok=True)
        wanted = os.environ.get(variable, "")
        if wanted == "0":
            say(f"no {name} library ({variable}=0): {CONSEQUENCES[name]}.")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory() as build:
                BUILDERS[name](target, Path(build))
        except MissingToolError as error:
            if wanted == "1":
                raise SystemExit(f"pyramidflow: {variable}=1, but {error}") from error
            say(f"no {name} library, {error}: {CONSEQUENCES[name]}.")
            return
        say(f"built the {name} library.")


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3 on one platform: the libraries know nothing of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """``py3-none-<platform>``."""
        return "py3", "none", super().get_tag()[2]


setup(
    # The Triton kernels stand at the top of the tree, and are installed inside the package.
    packages=[*find_packages(include=["pyramidflow*"]), "pyramidflow.kernels"],
    package_dir={"pyramidflow": "pyramidflow", "pyramidflow.kernels": "kernels"},
    ext_modules=[
        Extension(f"pyramidflow.ops.libpyramidflow_{name}", sources=[], optional=True)
        for name in BUILDERS
    ],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
)

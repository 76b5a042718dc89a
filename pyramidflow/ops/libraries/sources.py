"""What the compiled libraries are made of: their sources, the flags, and one hash of both.

``setup.py`` builds from it, and the loader compares: a library in a checkout whose sources have
changed since is refused. It stands alone, as no other module of the package is there in a build.
"""

import hashlib
from pathlib import Path

SUFFIXES = {"cpu": (".cpp", ".h"), "cuda": (".cu", ".cuh")}
"""Of the files that a library is made of: a family has both libraries' in one folder."""

CPU_FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-exceptions",
    "-fno-rtti",
    "-fopenmp",
)

LEVELS_X86 = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": (
        "-mavx512f",
        "-mavx512dq",
        "-mavx512bw",
        "-mavx512vl",
        "-mfma",
        "-mprefer-vector-width=512",
    ),
}
"""Instruction sets that the CPU kernels are compiled for, with their flags."""

CUDA_FLAGS = (
    "-std=c++17",
    "-O3",
    "-cudart",
    "static",
    "-Xcompiler",
    "-fPIC,-fvisibility=hidden",
)

FLAGS = {"cpu": repr((CPU_FLAGS, LEVELS_X86)), "cuda": repr(CUDA_FLAGS)}


def folder(root: Path) -> Path:
    """Sources of the libraries in a checkout, there or not."""
    return root / "csrc"


def files(root: Path, name: str) -> list[Path]:
    """Sources of the library ``name`` (``"cpu"``, ``"cuda"``) in a checkout, in a fixed order."""
    found = folder(root).glob("*/*")
    return sorted(f for f in found if f.suffix in SUFFIXES[name] and f.parent.name != "host")


def digest(root: Path, name: str) -> str:
    """Hash of every source file of a library and of its flags, 16 hexadecimal digits.

    Args:
        root: of the checkout.
        name: ``"cpu"`` or ``"cuda"``.
    """
    total = hashlib.sha256(FLAGS[name].encode())
    for file in files(root, name):
        content = file.read_bytes()
        total.update(f"{file.relative_to(folder(root)).as_posix()}\n{len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()[:16]

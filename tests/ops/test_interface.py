"""The C interfaces of the compiled libraries, and what Python declares of them."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pyramidflow.errors import InputError
from pyramidflow.ops import dispatch
from pyramidflow.ops.backend.cpu import BACKEND
from pyramidflow.ops.libraries import cpu, cuda, loading, sources
from pyramidflow.ops.libraries.declaration import POINTER, SIZE, Structure, check_declared
from pyramidflow.runtime.cpu import stem
from tests.support import cuda_host
from tests.support.backends import require_backend
from tests.support.places import ROOT

if not (ROOT / "csrc").is_dir():
    pytest.skip("csrc is not here: it comes with the repository only", allow_module_level=True)

TESTED = {"exp", "atan", "copy"}
"""Functions that are there for the tests."""


def defined(name: str) -> set[str]:
    """Functions that the sources of a library define."""
    texts = (file.read_text(encoding="utf-8") for file in sources.files(ROOT, name))
    found = set(re.findall(r"^PYRAMIDFLOW_FUNCTION\((\w+)", "\n".join(texts), re.MULTILINE))
    return found - TESTED


def declared(module) -> set[str]:
    for backend in ("cpu", "cuda"):
        dispatch.left_out(dispatch.load(backend))  # every family's file is imported
    # Tests declare functions of their own.
    return {n for n, f in module.DECLARED.items() if f.__module__.startswith("pyramidflow.")}


def test_functions_of_the_cpu_library_are_declared_alike() -> None:
    require_backend("cpu")
    assert "lift_uint8" in declared(cpu), stem.__name__  # what a runtime alone calls, too
    assert declared(cpu) == defined("cpu")
    cpu.check()


def test_functions_of_the_cuda_library_are_declared_alike() -> None:
    assert declared(cuda) == defined("cuda")
    with cuda_host.library(cuda_host.library_or_skip()):
        cuda.check()


class Image(Structure):
    """As the library below has it."""

    _fields_ = (("batch", SIZE), ("data", POINTER), ("scale", ctypes.c_float))


C_LIBRARY = """
const char f_parameters[] = "const float* x, float y, PyramidflowImage image, int64_t threads";
const char g_parameters[] = "";
const char pyramidflow_cpu_PyramidflowImage_fields[] = "int64_t batch; FIELDS float scale;";
"""
TYPES = {"x": POINTER, "y": ctypes.c_float, "image": Image}


@pytest.mark.parametrize(
    ("function", "fields", "types", "words"),
    [
        ("f", "const float* data;", TYPES, ""),
        ("g", "", {}, ""),
        ("f", "const float* data;", {**TYPES, "z": SIZE}, "f has x, y, image, not x, y, image, z"),
        ("f", "const float* data;", {**TYPES, "y": SIZE}, "f has x, y, image, not x, y, image"),
        ("f", "const float* data;", dict(reversed(TYPES.items())), "not image, y, x"),
        ("f", "int64_t data;", TYPES, "PyramidflowImage has batch, data, scale, not batch, data"),
        ("f", "int64_t left, data;", TYPES, "PyramidflowImage has batch, left, data, scale"),
        ("h", "", {}, "h_parameters is not in it"),
    ],
)
def test_what_the_library_declares_otherwise_is_refused(
    function, fields, types, words, tmp_path
) -> None:
    library = tmp_path / "declared.so"
    compile_c(C_LIBRARY.replace("FIELDS", fields), library)

    def check() -> None:
        check_declared(ctypes.CDLL(str(library)), "cpu", function, types, last="threads")

    if not words:
        check()
        return
    with pytest.raises(loading.LibraryError, match=r"other Python code.*install again") as refused:
        check()
    assert words in str(refused.value)


def compile_c(source: str, library: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: it compiles the other library")
    command = ["gcc", "-shared", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)


STALE = {
    "of no functions": "long long pyramidflow_cpu_interface(void) { return 0x123; }",
    "of another prefix": 'const char* pyramidflow_cpu_prefix(void) { return "z80"; }',
}


@contextmanager
def another_library(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library of C code in place of the compiled one."""
    monkeypatch.setattr(loading, "FOLDER", folder)
    folder.mkdir(parents=True, exist_ok=True)
    compile_c(source, loading.path("cpu"))
    for cached in (loading.load, cpu._prefix):
        cached.cache_clear()
    try:
        yield
    finally:
        for cached in (loading.load, cpu._prefix):
            cached.cache_clear()


@pytest.mark.parametrize("source", STALE.values(), ids=STALE)
def test_library_of_other_code_is_refused(source: str, tmp_path, monkeypatch) -> None:
    with another_library(source, tmp_path, monkeypatch):
        with pytest.raises(loading.LibraryError, match=r"other Python code.*install again from so"):
            cpu.check()
        state = BACKEND.status()
    assert not state.available
    assert "is not in it): install again from source." in state.reason


@pytest.mark.parametrize(
    ("said", "in_the_sentence"),
    [('return "h0123456789abcdef";', "hash 0123456789abcdef"), ("", "hash unknown")],
)
def test_library_of_other_sources_is_refused(said, in_the_sentence, tmp_path, monkeypatch) -> None:
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    code = f"const char* pyramidflow_cpu_sources(void) {{ {said} }}" if said else "int nothing;"
    with another_library(code, tmp_path / "pyramidflow" / "ops", monkeypatch):
        state = BACKEND.status()
    assert not state.available
    assert f"other sources than those in {tmp_path / 'csrc'}" in state.reason
    assert f"({in_the_sentence} instead of {sources.digest(ROOT, 'cpu')})" in state.reason
    assert state.reason.endswith("build it again with `pip install -e .`.")


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_hash_is_of_every_source_and_flag(name: str, tmp_path, monkeypatch) -> None:
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    digests = [sources.digest(ROOT, name)]
    assert sources.digest(tmp_path, name) == digests[0]
    files = sources.files(tmp_path, name)
    for file in files:
        with file.open("a") as text:
            text.write("\n")
        digests.append(sources.digest(tmp_path, name))
    files[-1].rename(files[-1].with_stem("renamed"))
    digests.append(sources.digest(tmp_path, name))
    monkeypatch.setitem(sources.FLAGS, name, sources.FLAGS[name] + " -Ofast")
    digests.append(sources.digest(tmp_path, name))
    assert len(set(digests)) == len(files) + 3


def test_compiled_library_says_what_it_was_built_from() -> None:
    require_backend("cpu")
    assert BACKEND.status().details["sources"] == sources.digest(ROOT, "cpu")


def test_openmp_runtime_is_found_among_names_that_are_not_text(tmp_path, monkeypatch) -> None:
    torch_folder = os.fsencode(Path(torch.__file__).parent)
    names = [
        b"/caf\xe9/libgomp.so.1",
        torch_folder + b"/lib/libgomp-1.so",
        b"/gone/libomp.so (deleted)",
    ]
    lines = [b"7f00-7f01 r-xp 00000000 08:01 42    " + name for name in names]
    maps = tmp_path / "maps"
    maps.write_bytes(b"\n".join([*lines, b"7f02-7f03 rw-p 00000000 00:00 0 ", b""]))
    opened = []
    monkeypatch.setattr(loading, "MAPS", maps)
    monkeypatch.setattr(loading.ctypes, "CDLL", lambda name, mode: opened.append(name))
    loading.share_openmp_runtime()
    monkeypatch.setattr(loading, "MAPS", tmp_path / "none")
    loading.share_openmp_runtime()
    assert opened == [os.fsdecode(names[1]), "libgomp.so.1"]


def test_library_loads_where_a_name_in_memory_is_not_text(tmp_path) -> None:
    require_backend("cpu")
    program = """
import mmap, os, sys
name = os.fsencode(sys.argv[1]) + b"/caf\\xe9"
with open(name, "w+b") as file:
    file.write(b"x" * mmap.PAGESIZE)
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0)
from pyramidflow.ops import dispatch
print(dispatch.status("cpu").available)
"""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", program, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["True"], run.stderr


@cpu.function("copy")
def copy_into(x: torch.Tensor, y: torch.Tensor, count: int, threads: int | None = None) -> None: ...


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(threads: int) -> None:
    require_backend("cpu")
    x = torch.ones(4)
    with pytest.raises(InputError, match=f"threads is {threads}: give one at least"):
        copy_into(x, torch.empty_like(x), x.numel(), threads=threads)

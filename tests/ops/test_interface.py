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
from pyramidflow.ops.convolution import spectral
from pyramidflow.ops.coupling import cpu as coupling
from pyramidflow.ops.coupling import cuda as coupling_cuda
from pyramidflow.ops.libraries import cpu, cuda, loading, sources
from pyramidflow.ops.libraries.declaration import POINTER, SIZE, argument_types
from pyramidflow.runtime.cpu import stem
from tests.support.backends import require_backend
from tests.support.builds import build_script
from tests.support.places import ROOT

CPU_HEADER = ROOT / "csrc" / "cpu" / "api.h"
CUDA_HEADER = ROOT / "csrc" / "cuda" / "pyramidflow_cuda.h"

if not CPU_HEADER.exists():
    pytest.skip("csrc is not here: it comes with the repository only", allow_module_level=True)

STRUCTURES = {
    "PyramidflowImage": cpu.Image,
    "PyramidflowCoupling": coupling.Coupling,
    "PyramidflowSource": spectral.Source,
    "PyramidflowSpectral": spectral.Spectral,
    "PyramidflowEpilogue": spectral.Epilogue,
    "pyramidflow_coupling": coupling_cuda.Coupling,
}
KINDS = {"int64_t": SIZE, "float": ctypes.c_float, "cudaStream_t": POINTER, **STRUCTURES}
TEXTS = {"level", "compiler", "architectures", "sources", "error_name", "interface"}
"""Functions that say something of the library; they are called by their names."""

TESTED = {"exp", "atan", "copy"}
"""Functions that are there for the tests."""


def declarations(header: Path) -> str:
    return re.sub(r"//.*|\\\n", "", header.read_text(encoding="utf-8"))


def kind(declared: str) -> object:
    """What ``ctypes`` passes for a parameter or a field."""
    return POINTER if "*" in declared else KINDS[declared.split()[0]]


def fields(body: str) -> list[tuple[str, object]]:
    found = []
    for statement in filter(None, map(str.strip, body.split(";"))):
        names = re.findall(r"(\w+)(?:,|$)", statement)
        found += [(name, kind(statement)) for name in names]
    return found


@pytest.mark.parametrize("module", [cpu, cuda], ids=["cpu", "cuda"])
def test_number_is_that_of_the_header(module) -> None:
    header = CPU_HEADER if module is cpu else CUDA_HEADER
    number = build_script()["interface"](header)
    assert f"{module.INTERFACE:#017x}" == number, (
        f"{header.name} has changed: declare the same in Python, then set INTERFACE of "
        f"{module.__name__}"
    )


def test_comments_and_layout_do_not_change_the_number(tmp_path) -> None:
    interface = build_script()["interface"]
    texts = [
        "int64_t f(int64_t a);\n",
        "// ⌈a⌉\nint64_t \\\n  f(int64_t a);",
        "int64_t f(float a);",
    ]
    numbers = []
    for text in texts:
        (tmp_path / "api.h").write_text(text, encoding="utf-8")
        numbers.append(interface(tmp_path / "api.h"))
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize("header", [CPU_HEADER, CUDA_HEADER], ids=["cpu", "cuda"])
def test_structures_have_the_header_s_fields(header: Path) -> None:
    text = declarations(header)
    found = dict(re.findall(r"struct (\w+) \{(.*?)\};", text, re.DOTALL))
    found.update({n: body for body, n in re.findall(r"struct \{(.*?)\} (\w+);", text, re.DOTALL)})
    assert found
    for name, body in found.items():
        assert list(STRUCTURES[name]._fields_) == fields(body)


def parameters_of(text: str) -> dict[str, object]:
    parameters = [p.split() for p in filter(None, map(str.strip, text.split(",")))]
    return {words[-1].lstrip("*"): kind(" ".join(words)) for words in parameters}


def declared(module) -> dict[str, dict[str, object]]:
    for backend in ("cpu", "cuda"):
        dispatch.left_out(dispatch.load(backend))  # every family's file is imported
    # Tests declare functions of their own.
    ours = {n: f for n, f in module.DECLARED.items() if f.__module__.startswith("pyramidflow.")}
    return {name: argument_types(function) for name, function in ours.items()}


def test_functions_of_the_cpu_library_are_declared_alike() -> None:
    found = re.findall(r"FUNCTION\(\s*(\w+),\s*\((.*?)\)", declarations(CPU_HEADER), re.DOTALL)
    header = {name: parameters_of(text) for name, text in found if name not in TESTED}
    python = {name: {**types, "threads": SIZE} for name, types in declared(cpu).items()}
    assert "lift_uint8" in python, stem.__name__  # what a runtime alone calls, too
    assert python == header


def test_functions_of_the_cuda_library_are_declared_alike() -> None:
    pattern = r"\bpyramidflow_cuda_(\w+)\((.*?)\);"
    found = re.findall(pattern, declarations(CUDA_HEADER), re.DOTALL)
    header = {name: parameters_of(text) for name, text in found if name not in TEXTS}
    for parameters in header.values():
        parameters.pop("stream", None)
    python = declared(cuda)
    for types in python.values():  # structures are passed by reference
        types.update({name: POINTER for name, t in types.items() if t is coupling_cuda.Coupling})
    assert python == header


STALE = {
    "of another number": "long long pyramidflow_cpu_interface(void) { return 0x123; }",
    "without a number": "int pyramidflow_cpu_level(void) { return 0; }",
}


@contextmanager
def another_library(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library of C code in place of the compiled one."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: it compiles the other library")
    monkeypatch.setattr(loading, "FOLDER", folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-x", "c", "-", "-o", str(loading.path("cpu"))]
    subprocess.run(command, input=source, text=True, check=True)
    for cached in (loading.load, cpu.compiled):
        cached.cache_clear()
    try:
        yield
    finally:
        for cached in (loading.load, cpu.compiled):
            cached.cache_clear()


@pytest.mark.parametrize("source", STALE.values(), ids=STALE)
def test_library_of_other_code_is_refused(source: str, tmp_path, monkeypatch) -> None:
    with another_library(source, tmp_path, monkeypatch):
        with pytest.raises(loading.LibraryError, match=r"other Python code.*install again from so"):
            cpu.compiled()
        state = BACKEND.status()
    assert not state.available
    assert "interface 0x" in state.reason


@pytest.mark.parametrize(
    ("said", "in_the_sentence"),
    [('return "h0123456789abcdef";', "hash 0123456789abcdef"), ("", "hash unknown")],
)
def test_library_of_other_sources_is_refused(said, in_the_sentence, tmp_path, monkeypatch) -> None:
    (tmp_path / "csrc").mkdir()
    shutil.copytree(ROOT / "csrc" / "cpu", tmp_path / "csrc" / "cpu")
    code = f"long long pyramidflow_cpu_interface(void) {{ return {cpu.INTERFACE}; }}"
    if said:
        code += f" const char* pyramidflow_cpu_sources(void) {{ {said} }}"
    with another_library(code, tmp_path / "pyramidflow" / "ops", monkeypatch):
        state = BACKEND.status()
    assert not state.available
    assert f"other sources than those in {tmp_path / 'csrc' / 'cpu'}" in state.reason
    assert f"({in_the_sentence} instead of {sources.digest(ROOT, 'cpu')})" in state.reason
    assert state.reason.endswith("build it again with `pip install -e .`.")


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_hash_is_of_every_source_and_flag(name: str, tmp_path, monkeypatch) -> None:
    (tmp_path / "csrc").mkdir()
    shutil.copytree(ROOT / "csrc" / name, tmp_path / "csrc" / name)
    digests = [sources.digest(ROOT, name)]
    assert sources.digest(tmp_path, name) == digests[0]
    files = [f for f in sorted((tmp_path / "csrc" / name).rglob("*")) if f.is_file()]
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

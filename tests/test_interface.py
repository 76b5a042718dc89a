"""The C interfaces of the compiled libraries, and what Python declares of them."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from builds import build_script

from pyramidflow.ops import backend_cpu, compiled_cpu, library
from pyramidflow.ops.backend_cuda import compiled as compiled_cuda

ROOT = Path(__file__).parents[1]
CPU_HEADER = ROOT / "csrc" / "cpu" / "api.h"
CUDA_HEADER = ROOT / "csrc" / "cuda" / "pyramidflow_cuda.h"

if not CPU_HEADER.exists():
    pytest.skip("csrc is not here: it comes with the repository only", allow_module_level=True)

STRUCTURES = {
    "PyramidflowImage": compiled_cpu.Image,
    "PyramidflowCoupling": compiled_cpu.Coupling,
    "PyramidflowSource": compiled_cpu.Source,
    "PyramidflowSpectral": compiled_cpu.Spectral,
    "PyramidflowEpilogue": compiled_cpu.Epilogue,
    "pyramidflow_coupling": compiled_cuda.Coupling,
}
KINDS = {"int64_t": compiled_cpu.SIZE, "float": ctypes.c_float, **STRUCTURES}


def declarations(header: Path) -> str:
    return re.sub(r"//.*|\\\n", "", header.read_text(encoding="utf-8"))


def kind(declared: str) -> object:
    """What ``ctypes`` passes for a parameter or a field."""
    return compiled_cpu.POINTER if "*" in declared else KINDS[declared.split()[0]]


def fields(body: str) -> list[tuple[str, object]]:
    found = []
    for statement in filter(None, map(str.strip, body.split(";"))):
        names = re.findall(r"(\w+)(?:,|$)", statement)
        found += [(name, kind(statement)) for name in names]
    return found


@pytest.mark.parametrize("module", [compiled_cpu, compiled_cuda], ids=["cpu", "cuda"])
def test_number_is_that_of_the_header(module) -> None:
    header = CPU_HEADER if module is compiled_cpu else CUDA_HEADER
    number = build_script()["interface"](header)
    assert f"{module.INTERFACE:#017x}" == number, (
        f"{header.name} has changed: declare the same in {module.__name__}, then set INTERFACE"
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


def test_functions_have_the_header_s_parameters() -> None:
    found = re.findall(r"FUNCTION\(\s*(\w+),\s*\((.*?)\)", declarations(CPU_HEADER), re.DOTALL)
    parameters = {name: [kind(p) for p in re.split(r",\s*", text)] for name, text in found}
    assert parameters == compiled_cpu._ARGUMENTS


STALE = {
    "of another number": "long long pyramidflow_cpu_interface(void) { return 0x123; }",
    "without a number": "int pyramidflow_cpu_level(void) { return 0; }",
}


@pytest.mark.parametrize("source", STALE.values(), ids=STALE)
def test_library_of_other_code_is_refused(source: str, tmp_path, monkeypatch) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: it compiles the other library")
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    command = ["gcc", "-shared", "-x", "c", "-", "-o", str(library.path("cpu"))]
    subprocess.run(command, input=source, text=True, check=True)
    for cached in (library.load, compiled_cpu.compiled):
        cached.cache_clear()
    try:
        with pytest.raises(library.LibraryError, match=r"other Python code.*install again from so"):
            compiled_cpu.compiled()
        state = backend_cpu.status()
    finally:
        for cached in (library.load, compiled_cpu.compiled):
            cached.cache_clear()
    assert not state.available
    assert "interface 0x" in state.reason

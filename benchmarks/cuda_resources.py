"""Registers, shared and local memory of every CUDA kernel, read from the compiled code.

``python benchmarks/cuda_resources.py`` compiles ``csrc/cuda`` for every architecture of
:data:`ARCHITECTURES` with nvcc, reads the cubins with cuobjdump, and writes
``benchmarks/results/cuda_resources.md``. Nothing of it runs on a GPU.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "csrc" / "cuda"
RESULT = ROOT / "benchmarks" / "results" / "cuda_resources.md"
SCALAR_KERNELS = ("sum_partials_kernel",)
"""Kernels that are not meant to load 128 bits at a time."""

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

_WORDS = {
    "true": "channels-last",
    "false": "contiguous",
    "__half": "float16",
    "__nv_bfloat16": "bfloat16",
    "float": "float32",
    "unsigned char": "uint8",
    "unsigned short": "uint16",
}


@dataclass
class Kernel:
    """What one compiled kernel uses.

    Attributes:
        name: its name and template arguments, shortened.
        registers: of a thread.
        shared_bytes: static shared memory of a block; what a launch asks for comes on top.
        local_bytes: stack and spills of a thread.
        wide_loads: ``LDG.E.128`` instructions.
        wide_stores: ``STG.E.128`` instructions.
        spills: ``LDL`` and ``STL`` instructions.
    """

    name: str
    registers: int
    shared_bytes: int
    local_bytes: int
    wide_loads: int = 0
    wide_stores: int = 0
    spills: int = 0


def cuobjdump() -> str:
    """The toolkit's program of this name, or the one that comes with Triton."""
    found = shutil.which("cuobjdump")
    if found is not None:
        return found
    triton = importlib.util.find_spec("triton")
    folders = (triton and triton.submodule_search_locations) or ()
    for folder in folders:
        program = Path(folder) / "backends" / "nvidia" / "bin" / "cuobjdump"
        if program.exists():
            return str(program)
    raise FileNotFoundError("cuobjdump is in neither the PATH nor an installed Triton.")


def compile_cubin(source: Path, architecture: int, folder: Path) -> Path:
    """Compile one source for one architecture."""
    target = folder / f"{source.stem}.sm_{architecture}.cubin"
    subprocess.run(
        [
            *("nvcc", "-std=c++17", "-O3", "-cubin", f"-arch=sm_{architecture}"),
            *("-o", str(target), str(source)),
        ],
        check=True,
    )
    return target


def compile_ptx(source: Path, architecture: int, folder: Path) -> Path:
    """Compile one source to PTX, for architectures to come."""
    target = folder / f"{source.stem}.compute_{architecture}.ptx"
    subprocess.run(
        [
            *("nvcc", "-std=c++17", "-O3", "-ptx", f"-arch=compute_{architecture}"),
            *("-o", str(target), str(source)),
        ],
        check=True,
    )
    return target


def kernels(cubin: Path) -> list[Kernel]:
    """Every kernel of a cubin, in the order of names."""
    usage = _output(cuobjdump(), "-res-usage", str(cubin))
    found = {}
    for symbol, numbers in re.findall(r"Function (\S+):\n\s*(REG.*)", usage):
        values = dict(re.findall(r"(\w+(?:\[\d\])?):(\d+)", numbers))
        found[symbol] = Kernel(
            name=short_name(symbol),
            registers=int(values["REG"]),
            shared_bytes=int(values["SHARED"]),
            local_bytes=int(values["STACK"]) + int(values["LOCAL"]),
        )
    functions = _output(cuobjdump(), "-sass", str(cubin)).split("Function : ")[1:]
    for symbol, _, code in (function.partition("\n") for function in functions):
        kernel = found[symbol]
        kernel.wide_loads = len(re.findall(r"\bLDG\.E\.128", code))
        kernel.wide_stores = len(re.findall(r"\bSTG\.E\.128", code))
        kernel.spills = len(re.findall(r"\b(?:LDL|STL)\b", code))
    return sorted(found.values(), key=lambda kernel: kernel.name)


def short_name(symbol: str) -> str:
    """Kernel and template arguments in words, from a mangled symbol."""
    text = _output("c++filt", symbol).strip()
    match = re.search(r"(\w+_kernel)(?:<(.*)>)?\(", text)
    if match is None:
        return text
    name, arguments = match.group(1), match.group(2) or ""
    words = [
        _WORDS.get(word, word) for word in re.split(r", ", arguments.split("pyramidflow::")[0])
    ]
    of_what = re.search(r"(LogScale\w*)<", arguments)
    return " ".join([name, *filter(None, words), *(of_what.groups() if of_what else ())])


def _output(*command: str) -> str:
    # cuobjdump looks for nvdisasm, which lies beside it, in the PATH.
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(command[0]).parent)])
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"PATH": search}
    ).stdout


def table(measured: dict[int, list[Kernel]]) -> str:
    """Markdown: a row for each kernel, registers for each architecture."""
    rows: dict[str, dict[int, Kernel]] = defaultdict(dict)
    for architecture, found in measured.items():
        for kernel in found:
            rows[kernel.name][architecture] = kernel
    head = ["kernel", *(f"sm_{a}" for a in measured), "static shared", "local", "128-bit loads"]
    lines = [" | ".join(["", *head, ""]).strip(), "|" + " --- |" * len(head)]
    for name, by_architecture in sorted(rows.items()):
        every = by_architecture.values()
        cells = [
            name,
            *(str(by_architecture[a].registers) for a in measured),
            str(max(kernel.shared_bytes for kernel in every)),
            str(max(kernel.local_bytes for kernel in every)),
            str(min(kernel.wide_loads for kernel in every)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Compile, read and write the table; 1 if a kernel spills or loads nothing in 128 bits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, nargs="+", default=ARCHITECTURES)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if shutil.which("nvcc") is None:
        parser.error("nvcc is needed: install the CUDA toolkit.")
    measured: dict[int, list[Kernel]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in arguments.architectures:
            measured[architecture] = [
                kernel
                for source in sorted(SOURCES.glob("*.cu"))
                for kernel in kernels(compile_cubin(source, architecture, Path(folder)))
            ]
        for source in sorted(SOURCES.glob("*.cu")):
            compile_ptx(source, max(arguments.architectures), Path(folder))
    every = [kernel for found in measured.values() for kernel in found]
    spilling = sorted({k.name for k in every if k.spills or k.local_bytes})
    narrow = sorted({k.name for k in every if not k.wide_loads and k.name not in SCALAR_KERNELS})
    version = _output("nvcc", "--version").strip().splitlines()[-2].strip()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(
        "# CUDA kernels: registers and memory\n\n"
        "Read from the machine code; nothing here ran on a GPU. Registers of a thread by\n"
        "architecture; static shared memory of a block and local memory of a thread in bytes, the\n"
        "largest of all architectures; 128-bit loads from global memory in the code, the fewest.\n"
        "Shared memory is asked for at launch, at most 48 KiB: the static column is what the\n"
        "architecture itself keeps of a block's.\n"
        f"PTX for compute_{max(arguments.architectures)} compiles too.\n\n"
        f"- compiler: nvcc, {version}\n"
        "- command: `python benchmarks/cuda_resources.py`\n"
        f"- kernels with local memory or spills: {', '.join(spilling) or 'none'}\n"
        f"- kernels without 128-bit loads: {', '.join([*SCALAR_KERNELS, *narrow])}\n\n"
        + table(measured)
        + "\n"
    )
    return int(bool(spilling or narrow))


if __name__ == "__main__":
    sys.exit(main())

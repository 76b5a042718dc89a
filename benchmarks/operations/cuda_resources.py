"""Registers, shared and local memory of every CUDA kernel, read from the compiled code.

``python -m benchmarks.operations.cuda_resources`` compiles the sources for every architecture of
:data:`ARCHITECTURES` with nvcc, reads the cubins with cuobjdump, and writes
``benchmarks/results/cuda_resources.md`` and ``.json``. What a launch asks for comes from the same
sources run on the host. Nothing of it runs on a GPU.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import ROOT
from pyramidflow.ops.libraries import sources

SOURCES = sources.files(ROOT, "cuda")
SCALAR_KERNELS = ("anomaly_map_tolerant_forward_kernel", "sum_partials_kernel")
"""Kernels that are not meant to load 128 bits at a time."""

CHANNELS = 64
"""Channels of the launches whose shared memory is listed."""

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


def missing_tool() -> str:
    """Why the sources cannot be compiled and read here; empty if they can."""
    if not SOURCES:
        return "csrc is not here: the CUDA sources come with the repository only"
    if shutil.which("nvcc") is None:
        return "nvcc is not installed: it comes with the CUDA toolkit"
    try:
        cuobjdump()
    except FileNotFoundError as error:
        return str(error)
    return ""


def compile_sources(kind: str, architecture: str, folder: Path) -> list[Path]:
    """Compile every source, side by side, to ``"cubin"`` or ``"ptx"``; keep what is there."""

    def compiled(source: Path) -> Path:
        target = folder / f"{source.stem}.{architecture}.{kind}"
        if not target.exists():
            unfinished = target.with_suffix(f".{os.getpid()}")
            flags = ["-std=c++17", "-O3", f"-{kind}", f"-arch={architecture}"]
            flags += ["-I", str(sources.folder(ROOT))]
            subprocess.run(["nvcc", *flags, "-o", str(unfinished), str(source)], check=True)
            unfinished.rename(target)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compiled, (file for file in SOURCES if file.suffix == ".cu")))


def compiled_kernels(architecture: int) -> list[Kernel]:
    """Every kernel as compiled for one architecture; cubins of these sources are kept."""
    digest = hashlib.sha256(_output("nvcc", "--version").encode())
    for source in SOURCES:
        digest.update(source.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"pyramidflow-cubins-{os.getuid()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    folder /= digest.hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    cubins = compile_sources("cubin", f"sm_{architecture}", folder)
    return [kernel for cubin in cubins for kernel in kernels(cubin)]


def launched_shared_bytes() -> dict[str, int]:
    """Shared memory that each kernel asks for at launch with :data:`CHANNELS` channels, by name."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from tests.support import cuda_cases, cuda_host

    path = cuda_host.build()
    with cuda_host.library(path):
        cuda_host.launches(path)  # those of other callers
        cuda_cases.every_kernel(CHANNELS)
        found = cuda_host.launches(path)
    return {short_name(symbol): shared_bytes for symbol, shared_bytes in found.items()}


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


def rows_of(
    measured: dict[int, list[Kernel]], launched: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """What each kernel uses: registers by architecture, the largest of the rest."""
    by_name: dict[str, dict[int, Kernel]] = defaultdict(dict)
    for architecture, found in measured.items():
        for kernel in found:
            by_name[kernel.name][architecture] = kernel
    return {
        name: {
            "registers": {f"sm_{a}": kernel.registers for a, kernel in kernels.items()},
            "static_shared": max(kernel.shared_bytes for kernel in kernels.values()),
            "launched_shared": launched[name],
            "local": max(kernel.local_bytes for kernel in kernels.values()),
            "wide_loads": min(kernel.wide_loads for kernel in kernels.values()),
        }
        for name, kernels in sorted(by_name.items())
    }


def table(rows: dict[str, dict[str, Any]], architectures: Sequence[int]) -> list[str]:
    """Markdown: a row for each kernel, registers for each architecture."""
    names = [f"sm_{a}" for a in architectures]
    heads = ["kernel", *names, "static shared", "launch's shared", "local", "128-bit loads"]
    others = ("static_shared", "launched_shared", "local", "wide_loads")
    cells = [
        [name, *(str(row["registers"][a]) for a in names), *(str(row[key]) for key in others)]
        for name, row in rows.items()
    ]
    return results.table(heads, cells)


METHOD = f"""\
Read from the machine code; nothing here ran on a GPU. Registers of a thread by architecture; static
shared memory of a block and local memory of a thread in bytes, the largest of all architectures;
128-bit loads from global memory in the code, the fewest. Shared memory is asked for at launch, at
most 48 KiB; the static column is what the architecture itself keeps of a block's, the launch's is
for {CHANNELS} channels. PTX for the newest architecture compiles too.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, read and write both files; 1 if a kernel spills or loads nothing in 128 bits."""
    parser = common.parser("benchmarks.operations.cuda_resources", __doc__, "cuda_resources")
    parser.add_argument("--architectures", type=int, nargs="+", default=ARCHITECTURES)
    options = common.parse(parser, arguments)
    if missing_tool():
        parser.error(missing_tool())
    measured = {a: compiled_kernels(a) for a in options.architectures}
    with tempfile.TemporaryDirectory() as folder:
        compile_sources("ptx", f"compute_{max(options.architectures)}", Path(folder))
    every = [kernel for found in measured.values() for kernel in found]
    spilling = sorted({k.name for k in every if k.spills or k.local_bytes})
    narrow = sorted({k.name for k in every if not k.wide_loads and k.name not in SCALAR_KERNELS})
    facts = {
        "compiler": _output("nvcc", "--version").strip().splitlines()[-2].strip(),
        "kernels with local memory or spills": ", ".join(spilling) or "none",
        "kernels without 128-bit loads": ", ".join([*SCALAR_KERNELS, *narrow]),
    }
    rows = rows_of(measured, launched_shared_bytes())
    text = [*METHOD.splitlines(), "", *table(rows, options.architectures)]
    results.write(options, "CUDA kernels: registers and memory", text, rows, facts)
    return int(bool(spilling or narrow))


if __name__ == "__main__":
    sys.exit(main())

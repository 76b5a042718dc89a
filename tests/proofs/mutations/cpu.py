"""Change one sign or one index in each CPU kernel and see that a test fails.

``python -m tests.proofs.mutations.cpu`` builds the library with each mutant in a temporary folder,
runs the tests of the library on it and writes ``cpu_mutants.md`` beside this file. It takes half an
hour and is run by hand after the kernels or their tests have changed. What is the same for every
instruction set is compiled for the oldest one; what AVX2 and AVX-512 have of their own, for these,
which the machine must have.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proofs.mutations.places import changed
from tests.proofs.mutations.table import Mutant, mutants
from tests.support.cpu_cases import TESTS
from tests.support.places import ROOT

SOURCES = ROOT / "csrc"
LEVELS = {
    "x86-64": [],
    "AVX2": ["-mavx2", "-mfma"],
    "AVX-512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
}
FLAGS = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fopenmp",
    "-w",
    "-DPYRAMIDFLOW_BASELINE_ONLY",
]

MUTANTS = mutants("cpu")


def source_of(mutant: Mutant, root: Path = SOURCES) -> Path:
    """The file that a mutant changes."""
    found = [file for file in root.glob(f"*/{mutant.file}.*") if file.suffix in (".cpp", ".h")]
    (file,) = found
    return file


def compile_objects(folder: Path, stems: list[str], root: Path, level: str) -> None:
    """Compile kernel files for one instruction set."""
    flags = [*FLAGS, *LEVELS[level], "-I", str(root)]
    files = [next(root.glob(f"*/{stem}.cpp")) for stem in stems]
    jobs = [
        subprocess.Popen(["g++", *flags, "-c", str(file), "-o", f"{folder}/{file.stem}.o"])
        for file in files
    ]
    assert all(job.wait() == 0 for job in jobs), "a mutant does not compile"


def main() -> None:
    """Write the list of mutants, killed and survived."""
    lines = ["# Mutants of the CPU kernels", "", "`python -m tests.proofs.mutations.cpu`", ""]
    lines += ["| compiled for | file | change | result |", "|---|---|---|---|"]
    killed = 0
    for level in LEVELS:
        chosen = [mutant for mutant in MUTANTS if mutant.of == level]
        with tempfile.TemporaryDirectory() as folder:
            for mutant, result in zip(chosen, tried(chosen, level, Path(folder)), strict=True):
                killed += result.startswith("killed")
                lines.append(f"| {level} | {mutant.file} | {mutant.change} | {result} |")
                print(lines[-1], flush=True)
    lines += ["", f"{killed} of {len(MUTANTS)} killed."]
    (Path(__file__).parent / "cpu_mutants.md").write_text("\n".join(lines) + "\n")
    sys.exit(killed != len(MUTANTS))


def tried(chosen: list[Mutant], level: str, build: Path) -> Iterator[str]:
    """What became of each mutant of an instruction set."""
    stems = sorted({file.stem for file in SOURCES.glob("*/*.cpp")} - {"dispatch", "launcher"})
    (build / "good").mkdir()
    compile_objects(build / "good", stems, SOURCES, level)
    source, flags = SOURCES / "cpu" / "dispatch.cpp", [*FLAGS, "-I", str(SOURCES)]
    subprocess.run(["g++", *flags, "-c", str(source), "-o", f"{build}/dispatch.o"], check=True)
    unchanged = Mutant("common", level, "", "#pragma once", "#pragma once")
    assert try_mutant(build / "unchanged", build, stems, unchanged) == "survived"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(
            lambda number: try_mutant(build / str(number), build, stems, chosen[number]),
            range(len(chosen)),
        )


def try_mutant(folder: Path, build: Path, stems: list[str], mutant: Mutant) -> str:
    """Build one mutant and run the tests on it."""
    root = folder / "csrc"
    shutil.copytree(SOURCES, root)
    mutated = source_of(mutant, root)
    mutated.write_text(changed(mutated.read_text(), mutant.old, mutant.new))
    affected = [
        stem
        for stem in stems
        if stem == mutant.file or includes(next(root.glob(f"*/{stem}.cpp")), mutant.file)
    ]
    compile_objects(folder, affected, root, mutant.of)
    objects = [
        str((folder if stem in affected else build / "good") / f"{stem}.o") for stem in stems
    ]
    library = folder / "libpyramidflow_cpu.so"
    link = ["g++", "-shared", *objects, str(build / "dispatch.o"), "-o", str(library)]
    subprocess.run(link, check=True)
    script = (
        "import sys, pytest, pathlib\n"
        "from pyramidflow.ops.libraries import loading\n"
        f"loading.FOLDER = pathlib.Path({str(folder)!r})\n"
        "sys.exit(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', '-k', 'not avx',"
        f" *{[str(file) for file in TESTS]!r}]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    if run.returncode < 0:
        return "killed (crashed)"
    return "killed" if run.returncode == 1 else "survived" if run.returncode == 0 else "broken"


def includes(source: Path, header: str) -> bool:
    """Whether a kernel file includes a header, itself or through another."""
    names = re.findall(r'#include "(?:\w+/)?(\w+)\.h"', source.read_text())
    root = source.parents[1]
    return header in names or any(
        includes(next(root.glob(f"*/{name}.h")), header) for name in names
    )


if __name__ == "__main__":
    main()

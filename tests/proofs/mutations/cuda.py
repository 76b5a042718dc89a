"""Mutants of the CUDA kernels: one sign or one index changed, each must fail a test.

``python -m tests.proofs.mutations.cuda`` changes one line of a CUDA source at a time, compiles the
sources for the host, runs the tests that concern the line, and writes ``cuda_mutants.md`` beside
this file. A mutant that no test notices makes the exit code 1. Takes some minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pyramidflow.ops.libraries import sources
from tests.proofs.mutations.places import changed
from tests.proofs.mutations.table import Mutant, mutants
from tests.support.places import ROOT

SOURCES = ROOT / "csrc"
RESULT = Path(__file__).with_name("cuda_mutants.md")
MUTANTS = mutants("cuda")


def compile_objects(folder: Path, root: Path, only: Iterable[str]) -> bool:
    """Compile the named translation units of the sources ``root`` into ``folder``."""
    flags = [
        *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
        *("-U_FORTIFY_SOURCE", "-w", "-I", str(root / "host"), "-I", str(root)),
    ]
    running = [
        subprocess.Popen(
            [
                "g++",
                *flags,
                "-c",
                "-x",
                "c++",
                str(source_of(name, root)),
                "-o",
                f"{folder}/{name}.o",
            ],
            stderr=subprocess.PIPE,
        )
        for name in sorted(only)
    ]
    return all([process.wait() == 0 for process in running])


def source_of(name: str, root: Path = SOURCES) -> Path:
    """The file of that name."""
    (file,) = root.glob(f"*/{name}")
    return file


def users_of(name: str) -> set[str]:
    """Translation units that include a file, directly or not, or that it is."""
    if name.endswith(".cu"):
        return {name}
    found: set[str] = set()
    for file in sources.files(ROOT, "cuda"):
        if re.search(rf'#include "(\w+/)?{re.escape(name)}"', file.read_text()):
            found |= users_of(file.name)
    return found


def survives(mutant: Mutant, folder: Path, everything: set[str]) -> str:
    """``killed``, ``survived``, or why the mutant cannot be judged."""
    root, objects = folder / "csrc", folder / "mutant"
    for path in (root, objects):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(SOURCES, root)
    shutil.copytree(folder / "objects", objects)
    mutated = source_of(mutant.file, root)
    mutated.write_text(changed(mutated.read_text(), mutant.old, mutant.new, times=1))
    if not compile_objects(objects, root, users_of(mutant.file)):
        return "does not compile"
    library = link(objects, everything)
    return "survived" if pass_tests(library, mutant.tests) else "killed"


def link(objects: Path, everything: set[str]) -> Path:
    """Make a library of a folder of objects; a new file each time, as a loaded one stays loaded."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=objects)
    os.close(handle)
    files = [str(objects / f"{unit}.o") for unit in sorted(everything)]
    subprocess.run(["g++", "-shared", *files, "-o", name], check=True)
    return Path(name)


def pass_tests(library: Path, tests: str) -> bool:
    """Whether the tests that ``tests`` selects pass with that library, in another process."""
    pid = os.fork()
    if pid == 0:
        os._exit(run_tests(library, tests))
    _, status = os.waitpid(pid, 0)
    return status == 0


def run_tests(library: Path, tests: str) -> int:
    """Exit code of the tests that ``tests`` selects, with that library."""
    import pytest

    os.environ["PYRAMIDFLOW_HOST_LIBRARY"] = str(library)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        file = str(ROOT / "tests" / "proofs" / "test_cuda_host.py")
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", tests, file]))


def main() -> int:
    """Judge every mutant and write the list."""
    import torch

    torch.set_num_threads(1)
    everything = {file.name for file in SOURCES.glob("*/*.cu")} | {"launcher.cpp"}
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.of]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        if not compile_objects(folder / "objects", SOURCES, everything):
            print("the sources do not compile")
            return 2
        unchanged = link(folder / "objects", everything)
        for tests in sorted({mutant.tests for mutant in chosen}):
            if not pass_tests(unchanged, tests):
                print(f"the tests {tests!r} fail without any change")
                return 2
        for mutant in chosen:
            verdict = survives(mutant, folder, everything)
            print(f"{verdict:10} {mutant.of}: {mutant.new.splitlines()[0]}", flush=True)
            rows.append((mutant, verdict))
    if not wanted:
        RESULT.write_text(listing(rows))
    return int(any(verdict != "killed" for _, verdict in rows))


def listing(rows: list[tuple[Mutant, str]]) -> str:
    """The list as Markdown."""
    killed = sum(verdict == "killed" for _, verdict in rows)
    lines = [
        "# Mutants of the CUDA kernels",
        "",
        "Written by `python -m tests.proofs.mutations.cuda`: each change alone, host tests run.",
        f"{killed} of {len(rows)} killed.",
        "",
        "| kernel | file | change | verdict |",
        "| --- | --- | --- | --- |",
    ]
    for mutant, verdict in rows:
        lines.append(f"| {mutant.of} | {mutant.file} | {mutant.change} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

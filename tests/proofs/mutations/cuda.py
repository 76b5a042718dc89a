"""Mutants of the CUDA kernels: one sign or one index changed, each must fail a test.

``python -m tests.proofs.mutations.cuda`` changes one line of ``csrc/cuda`` at a time, compiles the
sources for the host, runs the tests that concern the line, and writes ``cuda_mutants.md`` beside
this file. A mutant that no test notices makes the exit code 1. Takes some minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.proofs.mutations.places import changed
from tests.proofs.mutations.table import Mutant, mutants
from tests.support.places import ROOT

RESULT = Path(__file__).with_name("cuda_mutants.md")
MUTANTS = mutants("cuda")


def compile_objects(folder: Path, sources: Path, only: set[str]) -> bool:
    """Compile the named translation units of ``sources`` into ``folder``."""
    running = []
    for name in sorted(only):
        source = ROOT / "csrc" / "host" / name if name == "launcher.cpp" else sources / name
        command = [
            *("g++", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
            *("-U_FORTIFY_SOURCE", "-w", "-I", str(ROOT / "csrc" / "host"), "-I", str(sources)),
            *("-c", "-x", "c++", str(source), "-o", str(folder / f"{name}.o")),
        ]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE))
    return all([process.wait() == 0 for process in running])


def users_of(header: str) -> set[str]:
    """Translation units that include a file, directly or not."""
    sources = ROOT / "csrc" / "cuda"
    if header.endswith(".cu"):
        return {header}
    found: set[str] = set()
    for file in sources.iterdir():
        if f'#include "{header}"' in file.read_text():
            found |= users_of(file.name)
    return found


def survives(mutant: Mutant, folder: Path, everything: set[str]) -> str:
    """``killed``, ``survived``, or why the mutant cannot be judged."""
    original = (ROOT / "csrc" / "cuda" / mutant.file).read_text()
    mutated = changed(original, mutant.old, mutant.new, times=1)
    sources, objects = folder / "cuda", folder / "mutant"
    for path in (sources, objects):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(ROOT / "csrc" / "cuda", sources)
    shutil.copytree(folder / "objects", objects)
    (sources / mutant.file).write_text(mutated)
    if not compile_objects(objects, sources, users_of(mutant.file)):
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
    everything = {file.name for file in (ROOT / "csrc" / "cuda").glob("*.cu")} | {"launcher.cpp"}
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.of]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        if not compile_objects(folder / "objects", ROOT / "csrc" / "cuda", everything):
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

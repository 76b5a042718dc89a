"""Mutants of the Triton kernels: one sign or one index changed, each must fail a test.

``python -m tests.proofs.mutations.triton`` changes one place of ``kernels/`` at a time in a copy of
the package, runs the comparisons that concern it in Triton's interpreter, and writes
``triton_mutants.md`` beside this file. A mutant that no test notices makes the exit code 1. Takes
some minutes.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

# Loaded once, before the mutants: each is tried in a fork of this process, which is much quicker.
import pytest
import torch
import torchvision  # noqa: F401
import triton.runtime.interpreter  # noqa: F401

from tests.proofs.mutations.table import Mutant, mutants
from tests.support.places import ROOT
from tests.support.triton_interpreter import FAMILIES

torch.set_num_threads(1)

RESULT = Path(__file__).with_name("triton_mutants.md")
TESTS = [f"tests/proofs/test_triton_{family}.py" for family in FAMILIES]
SUPPORT = ("__init__", "devices", "guarded", "maxima", "triton_cases", "triton_interpreter")
MUTANTS = mutants("triton")


def mutated(source: str, mutant: Mutant) -> str:
    """The source with ``new`` in the first place of the function where ``old`` stands."""
    head, definition, rest = source.partition(f"def {mutant.of}(")
    body, following, tail = rest.partition("\n\n\n")
    if mutant.old not in body:
        raise SystemExit(f"{mutant.file}: {mutant.of} has no {mutant.old!r}")
    return head + definition + body.replace(mutant.old, mutant.new, 1) + following + tail


def copy_package(target: Path) -> None:
    """Copy what the comparisons need, the kernels where an installation has them."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "pyramidflow", target / "pyramidflow", ignore=ignored)
    shutil.copytree(ROOT / "kernels", target / "pyramidflow" / "kernels", ignore=ignored)
    for folder in ("tests/support", "tests/proofs", "benchmarks"):
        (target / folder).mkdir(parents=True)
    for file in (
        *("pyproject.toml", "tests/__init__.py"),
        *("tests/proofs/__init__.py", "tests/proofs/conftest.py", *TESTS),
        *(f"tests/support/{name}.py" for name in SUPPORT),
    ):
        shutil.copy(ROOT / file, target / file)


def survives(mutant: Mutant, target: Path) -> bool:
    """Whether the tests that concern a mutant pass with it."""
    path = target / "pyramidflow" / "kernels" / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(mutated(original, mutant), encoding="utf-8")
    passed = passes(mutant.tests, target)
    path.write_text(original, encoding="utf-8")
    return passed


def passes(tests: str, target: Path) -> bool:
    """Run some of the comparisons in a fork of this process; a crash is a failure."""
    child = os.fork()
    if child == 0:
        os._exit(run_tests(tests, target))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code > 1:
        raise SystemExit(f"the tests {tests} did not run: exit code {code}")
    return code == 0


def run_tests(tests: str, target: Path) -> int:
    """Run some of the comparisons, silently, until one fails; the exit code of pytest."""
    os.chdir(target)
    sys.path.insert(0, str(target))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # this file's own: the copy's are to be imported
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    selection = f"equals_oracle and ({tests})"
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS, "-k", selection]))


def main() -> int:
    """Try every mutant and write the table."""
    lines = [
        "# Mutants of the Triton kernels",
        "",
        "One sign or index changed at a time, in the interpreter. Repeat with",
        "`python -m tests.proofs.mutations.triton`.",
        "",
        "| file | function | change | tests | outcome |",
        "|---|---|---|---|---|",
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory)
        copy_package(target)
        every = " or ".join(sorted({mutant.tests for mutant in MUTANTS}))
        if not passes(every, target):
            raise SystemExit("the tests fail without a mutant")
        for mutant in MUTANTS:
            survived = survives(mutant, target)
            survivors += survived
            outcome = "**survived**" if survived else "killed"
            lines.append(
                f"| {mutant.file} | {mutant.of} | {mutant.change} | {mutant.tests} | {outcome} |"
            )
            print(lines[-1], flush=True)
    lines += ["", f"{len(MUTANTS)} mutants, {len(MUTANTS) - survivors} killed."]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

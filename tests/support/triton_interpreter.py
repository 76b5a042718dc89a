"""Triton's interpreter for the tests: its defects mended, and a process of its own to run it.

Triton decides when it is imported whether kernels are compiled or interpreted. So that the choice
stays out of the other tests, test files run again in a child process, with ``TRITON_INTERPRET=1``,
on CPU tensors; the parent reads the outcomes.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

FAMILIES = ("pyramid", "coupling", "maps", "whole")
"""Parts of the comparisons: ``tests/proofs/test_triton_….py``."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def mend() -> None:
    """Round to bfloat16 as the hardware does, and patch the language once for each launch."""
    import triton.language as tl
    from triton.runtime import interpreter

    def truncate(builder: Any, source: Any, target: Any) -> Any:
        # The interpreter drops the low bits.
        if target.scalar != tl.bfloat16:
            return builder.cast_impl(source, target)
        rounded = torch.from_numpy(np.array(source.data, np.float32)).bfloat16()
        bits = rounded.view(torch.int16).numpy().view(np.uint16)
        return interpreter.TensorHandle(bits, tl.bfloat16)

    def patch_once(function: Any) -> Any:
        # Where a kernel starts, and not again in each function that it calls: much quicker.
        modules = [m for m in function.__globals__.values() if m is tl or m is tl.core]
        if any(tl.core.is_builtin(module.load) for module in modules):
            return patch_language(function)
        return scope() if scope else None

    scope = getattr(interpreter, "_LangPatchScope", None)  # before 3.5 a patch was for good
    patch_language = interpreter._patch_lang
    interpreter._patch_lang = patch_once
    interpreter.InterpreterBuilder.create_fp_trunc = truncate


def outcomes(files: list[str], expression: str, report: Path) -> dict[str, list[tuple[str, str]]]:
    """Run the chosen tests of some files in the interpreter.

    Returns:
        Case and failure (empty if it passed), by name of the test.
    """
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *files, "-k", expression, "-q"),
            *(f"--junitxml={report}", "-p", "no:cacheprovider", "-p", "no:randomly"),
        ],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), run.stdout + run.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problems = [
            f"{child.get('message')}\n{child.text}"
            for child in case
            if child.tag in ("failure", "error", "skipped")
        ]
        name = str(case.get("name"))
        found.setdefault(name.partition("[")[0], []).append((name, "\n".join(problems)))
    return found


def failures(outcomes: list[tuple[str, str]]) -> str:
    """What to print of the outcomes of one test; empty if each passed."""
    failed = [f"{case}: {problem}" for case, problem in outcomes if problem]
    return "\n".join([f"{len(failed)} of {len(outcomes)} cases", *failed]) if failed else ""

"""What a number depends on: machine, versions, commit and command."""

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def machine() -> dict[str, Any]:
    """Processor, threads, versions, and commit of the code that is measured."""
    import torch

    import pyramidflow
    from pyramidflow.ops import dispatch

    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyramidflow": pyramidflow.__version__,
        "library": dict(dispatch.status("cpu").details),
        "commit": commit(Path(pyramidflow.__file__)),
        "load_average": load_average(),
    }


def processor() -> str:
    """Name of the processor as the system says it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def load_average() -> list[str]:
    """Of the last 1, 5 and 15 minutes; empty where the system does not say."""
    return [f"{load:.2f}" for load in os.getloadavg()] if hasattr(os, "getloadavg") else []


def commit(file: Path) -> str:
    """Commit of the checkout that a source file belongs to.

    ``with changes`` stands behind it where a tracked file differs from the commit; the results,
    which the benchmarks themselves write, do not count. Empty where the file belongs to no
    checkout, as an installed one does, or where git is not there.

    Args:
        file: a source file of the code that is measured.
    """
    root = _git(file.parent, "rev-parse", "--show-toplevel")
    if not root or not _git(file.parent, "ls-files", "--", file.name):
        return ""
    found = _git(Path(root), "rev-parse", "HEAD")
    changes = ("status", "--porcelain", "--untracked-files=no", "--", ".")
    changed = _git(Path(root), *changes, ":(exclude)benchmarks/results")
    return f"{found}, with changes" if changed else found


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()


def shown_command(program: str, arguments: Sequence[str]) -> str:
    """A command for another reader: of a path only its last part is left.

    Args:
        program: that is run, ``python -m …``.
        arguments: it was given; ``NAME=PATH`` and ``PATH=VALUE`` count as paths, too.
    """
    return " ".join([program, *("=".join(map(_shown, a.split("="))) for a in arguments)])


def _shown(text: str) -> str:
    return f"…/{Path(text).name}" if os.sep in text else text

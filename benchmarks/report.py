"""The files that a benchmark leaves: Markdown to read, and beside it JSON with every number."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ops import machine


def facts(module: str, arguments: Sequence[str] | None, threads: int) -> dict[str, Any]:
    """What the numbers depend on: machine, versions, commit, threads and command.

    Args:
        module: that is run.
        arguments: it was given; ``None`` for the command line's.
        threads: of its processes.
    """
    shown = list(arguments) if arguments is not None else sys.argv[1:]
    command = " ".join([f"python -m {module}", *shown])
    return machine() | {"threads": threads, "command": command}


def write(
    file: Path, title: str, facts: dict[str, Any], text: Sequence[str], cases: dict[str, Any]
) -> None:
    """Write both files.

    Args:
        file: the Markdown file.
        title: its heading.
        facts: see :func:`facts`.
        text: lines of Markdown.
        cases: the numbers.
    """
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in facts.items()), "", *text]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = {"machine": facts, "cases": cases}
    file.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")

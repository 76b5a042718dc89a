"""The files that a benchmark leaves: Markdown to read, and beside it JSON with every number."""

import json
import math
from argparse import Namespace
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.harness.facts import RESULTS, machine


def write(
    options: Namespace,
    title: str,
    text: Sequence[str],
    cases: dict[str, Any],
    facts: dict[str, Any] | None = None,
) -> None:
    """Write what a benchmark found.

    Args:
        options: of :func:`benchmarks.harness.options.parse`.
        title: heading of the Markdown file.
        text: its lines.
        cases: the numbers, by case.
        facts: what they depend on beside the machine, the threads and the command.
    """
    known = machine() | {"threads": options.threads, "command": options.command}
    write_files(options.output, title, known | (facts or {}), text, cases)


def write_files(
    file: Path, title: str, facts: dict[str, Any], text: Sequence[str], cases: dict[str, Any]
) -> None:
    """Write both files; each is whole at any time.

    Args:
        file: the Markdown file; the other one is called the same, with ``.json``.
        title: its heading.
        facts: what the numbers depend on.
        text: lines of Markdown.
        cases: the numbers; those that are not finite become texts.
    """
    write_markdown(file, title, facts, text)
    _replace(file.with_suffix(".json"), json.dumps(report(facts, cases), indent=1) + "\n")


def write_markdown(file: Path, title: str, facts: dict[str, Any], text: Sequence[str]) -> None:
    """Write the Markdown file alone; see :func:`write_files`."""
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in facts.items()), "", *text]
    file.parent.mkdir(parents=True, exist_ok=True)
    _replace(file, "\n".join(lines).rstrip() + "\n")


def report(facts: dict[str, Any], cases: dict[str, Any]) -> dict[str, Any]:
    """What the JSON file holds."""
    return {"machine": strict(facts), "cases": strict(cases)}


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


def strict(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are not finite become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: strict(inner) for key, inner in value.items()}
    return [strict(inner) for inner in value] if isinstance(value, list | tuple) else value


@cache
def cases_of(name: str) -> dict[str, Any]:
    """The numbers of a result that is kept, by case."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["cases"]
    return found


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> list[str]:
    """A Markdown table.

    Args:
        heads: names of the columns.
        rows: their cells; a row that is too short ends with empty ones.
        texts: columns at the left that hold text; the others hold numbers.
    """
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * texts}{'---:|' * (len(heads) - texts)}"]
    for row in rows:
        cells = [*row, *[""] * (len(heads) - len(row))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines

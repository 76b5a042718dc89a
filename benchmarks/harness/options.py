"""The options that benchmarks have in common."""

import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.facts import RESULTS, shown_command


def parser(
    module: str, text: str | None, result: str, rounds: int | None = None, small: bool = False
) -> ArgumentParser:
    """A parser of ``--threads``, ``--output``, and of what else is asked for.

    Args:
        module: that ``python -m`` runs.
        text: its docstring.
        result: name of the result's files, without ending.
        rounds: default of ``--rounds``; ``None`` for a benchmark without it.
        small: whether it has ``--small``.
    """
    found = ArgumentParser(
        prog=f"python -m {module}",
        description=text,
        formatter_class=RawDescriptionHelpFormatter,
    )
    if rounds is not None:
        found.add_argument("--rounds", type=int, default=rounds, help="the median of them counts")
    if small:
        found.add_argument("--small", action="store_true", help="tiny: only whether it runs")
    found.add_argument("--threads", type=int, default=available(), help="that compute")
    found.add_argument(
        "--output",
        type=Path,
        default=RESULTS / f"{result}.md",
        metavar="FILE",
        help="Markdown; a JSON file is put beside it",
    )
    return found


def parse(found: ArgumentParser, arguments: Sequence[str] | None) -> Namespace:
    """Options of a command line, with the ``command`` itself as the results show it.

    Args:
        found: of :func:`parser`.
        arguments: ``None`` for the command line's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = found.parse_args(given)
    options.output = options.output.with_suffix(".md")
    options.command = shown_command(found.prog, given)
    return options


def compared(
    options: Namespace,
    compare: Callable[..., dict[str, Any]],
    cases: Mapping[str, Sequence[Any]],
    small: Mapping[str, Sequence[Any]],
) -> dict[str, dict[str, Any]]:
    """What a comparison says of each case.

    Args:
        options: with ``--rounds`` and ``--small``.
        compare: is given what the case says, threads and rounds.
        cases: by name.
        small: those in place of them with ``--small``.
    """
    chosen = small if options.small else cases
    return {name: compare(*case, options.threads, options.rounds) for name, case in chosen.items()}


def available() -> int:
    """Threads that a program takes here if nobody says otherwise."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    affinity = getattr(os, "sched_getaffinity", None)
    return (
        int(wanted) if wanted.isdigit() else len(affinity(0)) if affinity else os.cpu_count() or 1
    )

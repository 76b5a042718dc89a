"""Telling the user how a training goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class TrainingProgress(Protocol):
    """What a training reports while it runs."""

    def begin(self, phase: str, done: int, total: int) -> None:
        """A phase of ``total`` units starts, ``done`` of them completed earlier."""

    def advance(self, loss: float | None = None) -> None:
        """One unit of the phase is done."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch is complete."""

    def note(self, sentence: str) -> None:
        """Something was decided that the user did not ask for."""


class SilentProgress:
    """Says nothing."""

    def begin(self, phase: str, done: int, total: int) -> None:
        """Say nothing."""

    def advance(self, loss: float | None = None) -> None:
        """Say nothing."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Say nothing."""

    def note(self, sentence: str) -> None:
        """Say nothing."""


class ConsoleProgress:
    """A bar with the latest loss and the time left, and a line for each epoch.

    Where the output is no terminal (a log file), only the lines are written.
    """

    def __init__(self, console: Console, bar: Progress) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task("", total=None, loss="")

    def begin(self, phase: str, done: int, total: int) -> None:
        """Start a bar of ``total`` units at ``done``."""
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(phase, total=total, completed=done, loss="")

    def advance(self, loss: float | None = None) -> None:
        """Move the bar by one unit and show the loss."""
        shown = "" if loss is None else f"loss {loss:.4g}"
        self._bar.update(self._task, advance=1, loss=shown)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Print the epoch's line."""
        line = f"epoch {record['epoch']}/{epochs}  loss {record['loss']:.4g}"
        if record["validation_loss"] is not None:
            line += f"  held-out loss {record['validation_loss']:.4g}"
        self._console.print(f"{line}  {record['seconds']:.0f} s")

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._console.print(sentence)


@contextmanager
def console_progress(console: Console) -> Iterator[ConsoleProgress]:
    """Show progress on a console while the context is open."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        yield ConsoleProgress(console, bar)

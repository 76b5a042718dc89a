"""What commands show of a tuning."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyramidflow.detector.trials import Trial
from pyramidflow.io.names import printable

AS_GIVEN = "as given"

HEADINGS = ("AUPRO", "AP", "AUROC", "spread", "criterion", "gain", "needed", "taken")
"""Of the columns behind the settings; the spread is that of the good images' scores."""

SHORTEST_SETTINGS = 18
"""Characters of the settings' column on a narrow terminal."""


class ConsoleTuning:
    """Says what is tried while it is, and a line for each trial; a context.

    Where the output is no terminal (a log file), only the lines are written.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")

    def __enter__(self) -> "ConsoleTuning":
        self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._status.stop()

    def begin(self, settings: Sequence[str], training: bool) -> None:
        """Show what is tried."""
        how = "training with" if training else "trying"
        self._status.update(f"{how} {_named(settings)}")

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        self._console.print(Text(printable(sentence)))

    def tried(self, trial: Trial) -> None:
        """Print the trial's line."""
        line = f"{_named(trial.settings)}  criterion {_percent(trial.criterion)}"
        if trial.gain is not None and trial.needed is not None:
            line += f" ({_signed(trial.gain)}, needed {_signed(trial.needed)})"
            line += ", taken" if trial.chosen else ""
        self._console.print(Text(f"{line}  {trial.seconds:.0f} s"))


def print_trials(trials: Sequence[Trial]) -> None:
    """Print how settings were chosen, as a table."""
    table = Table(
        title="Settings that were tried, in per cent, on good images with drawn defects",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("settings", overflow="fold", min_width=SHORTEST_SETTINGS)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for trial in trials:
        parts = (trial.aupro, trial.pixel_ap, trial.image_auroc, trial.good_spread, trial.criterion)
        table.add_row(
            _named(trial.settings),
            *map(_percent, parts),
            "" if trial.gain is None else _signed(trial.gain),
            "" if trial.needed is None else _signed(trial.needed),
            "yes" if trial.chosen else "no",
            style="bold" if trial.chosen else None,
        )
    Console().print(table)


def _named(settings: Sequence[str]) -> str:
    return printable(" ".join(settings)) or AS_GIVEN


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"

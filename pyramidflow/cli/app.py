"""The program and its commands."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pyramidflow.cli.bulk import bulk
from pyramidflow.cli.calibrate import calibrate
from pyramidflow.cli.compare import compare
from pyramidflow.cli.demo import demo
from pyramidflow.cli.doctor import doctor
from pyramidflow.cli.evaluate import evaluate
from pyramidflow.cli.exit_codes import EXIT_INTERRUPTED
from pyramidflow.cli.history import ShownByDefault, export, mark, refused, show
from pyramidflow.cli.info import info
from pyramidflow.cli.inspect import inspect
from pyramidflow.cli.reproduce import reproduce
from pyramidflow.cli.run import run
from pyramidflow.cli.serve import serve
from pyramidflow.cli.template import template
from pyramidflow.cli.train import train
from pyramidflow.errors import LostProcessError
from pyramidflow.io.names import printable, user_path

app = typer.Typer(
    name="pyramidflow",
    help="Detect defects in full resolution with a detector trained from good images only.",
    epilog="Exit codes: 0; 1 defects found (inspect --fail-on-defect) or something broken "
    "(doctor); 2 usage or input error; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pyramidflow import __version__

        typer.echo(f"pyramidflow {__version__}")
        raise typer.Exit


DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error; accepted anywhere.")
]
VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]


@app.callback()
def program(debug: DebugOption = False, version: VersionOption = False) -> None:
    """Options of the program itself; both act before a command runs."""


def _adapted(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command paths with ``~`` as the home folder, and say what an interruption left behind.

    Shells expand no ``--output=~/x``; typer would end an interrupted command without a word. Where
    one process of a training ends, whoever started them stops the others: what is told is the loss.
    """

    @functools.wraps(command)
    def call(**options: Any) -> None:
        try:
            command(**{name: _at_home(value) for name, value in options.items()})
        except KeyboardInterrupt as stop:
            if (lost := _lost_before(stop)) is not None:
                raise lost from stop
            sentence = f"interrupted: {printable(stop)}" if str(stop) else "interrupted"
            typer.echo(sentence, err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from stop

    return call


def _lost_before(stop: KeyboardInterrupt) -> LostProcessError | None:
    error = stop.__context__
    while error is not None and not isinstance(error, LostProcessError):
        error = error.__context__
    return error


def _at_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return user_path(value) if isinstance(value, Path) else value


COMMANDS = (
    train,
    calibrate,
    evaluate,
    inspect,
    bulk,
    run,
    serve,
    template,
    info,
    doctor,
    demo,
    reproduce,
    compare,
)

for command in COMMANDS:
    app.command()(_adapted(command))

history = typer.Typer(
    cls=ShownByDefault,
    help="What a line said of its parts, what people said of them, and whether scores drift.",
    no_args_is_help=False,
)
for command in (show, export, mark, refused):
    history.command()(_adapted(command))
app.add_typer(history, name="history")

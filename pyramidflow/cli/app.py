"""The program and its commands."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pyramidflow.cli import EXIT_INPUT_ERROR, EXIT_INTERRUPTED
from pyramidflow.cli.calibrate import calibrate
from pyramidflow.cli.demo import demo
from pyramidflow.cli.doctor import doctor
from pyramidflow.cli.evaluate import evaluate
from pyramidflow.cli.info import info
from pyramidflow.cli.inspect import inspect
from pyramidflow.cli.template import template
from pyramidflow.cli.train import train

app = typer.Typer(
    name="pyramidflow",
    help="Detect defects in full resolution with a detector trained from good images only.",
    epilog="Exit codes: 0; 1 defects found (inspect --fail-on-defect); 2 usage or input error; "
    "130 interrupted.",
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


@app.callback()
def program(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; accepted anywhere.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the program itself; both act before a command runs."""


def _ending_cleanly(command: Callable[..., None]) -> Callable[..., None]:
    """Say what an interruption left behind; typer would end without a word."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            typer.echo(f"interrupted: {stop}" if str(stop) else "interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from stop
        except BrokenPipeError as error:  # the reader of the output has gone
            raise typer.Exit(EXIT_INPUT_ERROR) from error

    return run


for command in (train, calibrate, evaluate, inspect, template, info, doctor, demo):
    app.command()(_ending_cleanly(command))

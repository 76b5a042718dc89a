"""Options that commands have in common, as one object."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from pyramidflow.cli.groups import with_groups


@dataclass(frozen=True)
class Size:
    """A group."""

    height: Annotated[int, typer.Option("--height", min=1)] = 3
    width: Annotated[int | None, typer.Option("--width")] = None


def called(*arguments):
    """What a command with a group receives, and what it says."""
    app, found = typer.Typer(), []

    @app.command()
    @with_groups
    def command(name: str, size: Size, again: bool = False) -> None:
        found.append((name, size, again))

    return found, CliRunner().invoke(app, arguments)


def test_a_command_receives_its_groups():
    assert called("part")[0] == [("part", Size(), False)]
    found, _ = called("part", "--width", "7", "--height", "5", "--again")
    assert found == [("part", Size(5, 7), True)]


def test_options_of_a_group_are_checked_and_shown():
    found, result = called("part", "--height", "0")
    assert (found, result.exit_code) == ([], 2)
    shown = called("--help")[1].output
    assert "--height" in shown
    assert "--size" not in shown

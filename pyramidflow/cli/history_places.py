"""Where a history lies, as commands are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pyramidflow.line.history.store import Store

_PLACE = "line's configuration, its store, or the URL of a database that it writes to."

HistoryPlace = Annotated[str, typer.Argument(metavar="[LINE.TOML|URL]", help=f"The {_PLACE}")]
FromHistory = Annotated[
    str | None, typer.Option(metavar="LINE.TOML|URL", help=f"A {_PLACE}", show_default=False)
]
PictureFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--pictures",
        help="Folder of a sink that keeps pictures; a line's configuration names its own.",
        show_default=False,
    ),
]


@contextmanager
def open_history(text: str) -> "Iterator[Store]":
    """Open a history for the time of the context.

    Raises:
        InputError: there is none, or the configuration cannot be read.
    """
    from pyramidflow.line.history.store import Store

    store = Store.open(place_of(text)[0])
    try:
        yield store
    finally:
        store.close()


def clock_of(text: str) -> tuple[str, str | None]:
    """When shifts start and whose clock says so, as the line's configuration has them.

    Args:
        text: a configuration (``.toml``), a SQLite file or a URL; the last two have the usual ones.

    Returns:
        ``06:00,14:00,22:00``, and the name of a time zone; ``None`` is this machine's.

    Raises:
        InputError: the configuration cannot be read.
    """
    from pyramidflow.line.history.periods import USUAL_SHIFTS

    if "://" in text or not text.endswith(".toml"):
        return ",".join(USUAL_SHIFTS), None
    from pyramidflow.line.configuration import read_configuration

    settings = read_configuration(Path(text).expanduser())
    return ",".join(settings.shifts), settings.timezone


def place_of(text: str) -> tuple[str, list[Path]]:
    """The URL of a history, and the folders of its line's pictures where they are known.

    Args:
        text: a configuration (``.toml``), a SQLite file or a URL.

    Raises:
        InputError: the configuration cannot be read.
    """
    from pyramidflow.line.history.store import history_url, sqlite_url

    if "://" in text or not text.endswith(".toml"):
        return history_url(text), []
    from pyramidflow.line.configuration import read_configuration

    settings = read_configuration(Path(text).expanduser())
    return sqlite_url(settings.store), settings.picture_folders


def store_of(text: str) -> Path:
    """The store of a line, by its configuration or by itself.

    Raises:
        InputError: the configuration cannot be read.
    """
    if not text.endswith(".toml"):
        return Path(text).expanduser()
    from pyramidflow.line.configuration import read_configuration

    return read_configuration(Path(text).expanduser()).store

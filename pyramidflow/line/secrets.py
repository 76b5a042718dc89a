"""Secrets of sinks: from the environment or a file, never in the configuration or a log."""

import os
from pathlib import Path

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def secret(what: str, variable: str | None, file: Path | None) -> str | None:
    """A secret, from where the configuration says.

    Args:
        what: it is, for the sentence of an error.
        variable: of the environment that holds it.
        file: that holds it, on its first line.

    Returns:
        The secret; ``None`` where neither is named.

    Raises:
        InputError: both are named, or the place holds nothing.
    """
    if variable is not None and file is not None:
        raise InputError(f"{what} is to come from a variable and from a file: name one of them.")
    if variable is not None:
        found = os.environ.get(variable, "")
        place = f"the environment variable {printable(variable)}"
    elif file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{what} cannot be read from {printable(file)} ({type(error).__name__}): see to "
                "the file and its permissions."
            ) from error
        found, place = (lines[0].strip() if lines else ""), printable(file)
    else:
        return None
    if not found:
        raise InputError(f"{what} is to come from {place}, which is empty: put it there.")
    return found

"""Secrets of a line: from the environment or a file, never in the configuration or a log."""

import os
from typing import Any

from pydantic import Field

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def in_environment(what: str) -> Any:
    """A setting ``KEY_env``, the variable of the environment that holds a secret."""
    return Field(None, description=f"Environment variable with {what}.")


def in_file(what: str) -> Any:
    """A setting ``KEY_file``, the file that holds a secret on its first line."""
    return Field(None, description=f"File with {what} on its first line.")


def secret(what: str, settings: Any, key: str) -> str | None:
    """A secret, from where the configuration says.

    Args:
        what: it is, for the sentence of an error.
        settings: with ``KEY_env``, the variable of the environment that holds it, and
            ``KEY_file``, the file that holds it on its first line; ``None`` where it does not.
        key: as in ``"password"``.

    Returns:
        The secret; ``None`` where neither is named.

    Raises:
        InputError: both are named, or the place holds nothing.
    """
    variable, file = getattr(settings, f"{key}_env"), getattr(settings, f"{key}_file")
    if variable is not None and file is not None:
        raise InputError(f"{key}_env and {key}_file are both given for {what}: give one of them.")
    if variable is not None:
        found = os.environ.get(variable, "")
        given = f"{key}_env is {printable(variable)}"
        expected = f"{what} is expected in that variable"
    elif file is not None:
        given = f"{key}_file is {printable(file)}"
        expected = f"{what} is expected on its first line"
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{given}, but it cannot be read ({type(error).__name__}): {expected}; see to the "
                "file and its permissions."
            ) from error
        found = lines[0].strip() if lines else ""
    else:
        return None
    if not found:
        raise InputError(f"{given}, but nothing is there: {expected}; put it there.")
    return found

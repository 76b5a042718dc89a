"""Sentences about a configuration's values, with the key before them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


@contextmanager
def naming(table: str, key: str, settings: BaseModel) -> Iterator[None]:
    """Put the key before what is wrong with its value, where the sentence names none itself.

    Args:
        table: of the configuration, as ``line.toml: stations[0]``.
        key: in the table; empty where the whole table is meant.
        settings: the table's values.
    """
    try:
        yield
    except InputError as error:
        first = re.split(r"\W", str(error), maxsplit=1)[0]
        names_one = first in type(settings).model_fields
        value = getattr(settings, key, None)
        is_about_it = not isinstance(value, Path) or printable(value) in str(error)
        place = f"{table}.{key}" if key and is_about_it else table
        raise InputError(f"{table}.{error}" if names_one else f"{place}: {error}") from error

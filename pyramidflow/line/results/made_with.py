"""What the verdicts of a run were made with, in a file beside its records.

In each record it would be many times the size of the verdict.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import printable


def write_made_with(file: Path, facts: Mapping[str, Any]) -> None:
    """Write down what a run's verdicts are made with.

    Args:
        file: beside the records.
        facts: JSON values, by name.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(file, lambda written: written.write(f"{text}\n".encode()))


def check_made_with(
    file: Path, facts: Mapping[str, Any], *, what: str, other_ways: Sequence[str]
) -> None:
    """Check that an earlier run was made with the same as this one.

    Args:
        file: of the earlier run.
        facts: of this run.
        what: the folder holds, as in ``"results"``.
        other_ways: what a person can do instead of going on, as in ``"choose another --output"``.

    Raises:
        InputError: the file cannot be read, or a fact is another one there.
    """
    folder = printable(file.parent)
    try:
        stored = json.loads(file.read_bytes())
        differing = [name for name in facts if stored.get(name) != facts[name]]
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder} holds {what}, but {file.name} does not say what they were made with: "
            f"{_either(other_ways)}."
        ) from error
    if differing:
        name = differing[0]
        raise InputError(
            f"the {what} in {folder} were made with {name} {printable(stored.get(name))}, but now "
            f"it is {printable(facts[name])}: "
            f"{_either(['use the same model and settings', *other_ways])}."
        )


def _either(ways: Sequence[str]) -> str:
    *others, last = ways
    return ", ".join([*others, f"or {last}"]) if others else last

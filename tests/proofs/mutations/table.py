"""The lists of mutants: ``cpu.toml``, ``cuda.toml`` and ``triton.toml`` in this folder."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Mutant:
    """One change of a source.

    Attributes:
        file: its name, or its stem.
        of: what is changed: an instruction set, a kernel or a function.
        tests: that concern it, as ``pytest -k`` chooses them; empty for all.
        old: code.
        new: code in its place.
    """

    file: str
    of: str
    tests: str
    old: str
    new: str

    @property
    def change(self) -> str:
        """The change in a cell of a Markdown table."""
        old, new = (" ".join(text.split()).replace("|", "\\|") for text in (self.old, self.new))
        return f"`{old}` → `{new}`"


def mutants(name: str) -> list[Mutant]:
    """The list ``"cpu"``, ``"cuda"`` or ``"triton"``, in its order."""
    text = Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")
    return list(_of_groups(tomllib.loads(text)["group"]))


def _of_groups(groups: list[dict[str, Any]]) -> Iterator[Mutant]:
    for group in groups:
        of = (group["file"], group["of"], group.get("tests", ""))
        for old, new in group["changes"]:
            yield Mutant(*of, old, new)

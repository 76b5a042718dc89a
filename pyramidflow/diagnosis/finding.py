"""What a probe says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyramidflow.errors import InputError

State = Literal["ok", "absent", "broken"]
"""Works; is not there, and need not be; should work, and does not."""


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes:
        state: whether it works.
        summary: one line: what it works with, why it is not there, or what is wrong.
        details: numbers, texts, lists and mappings of these by name, as JSON can hold them.
    """

    state: State
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)


def broken_by(error: BaseException) -> Finding:
    """The finding of a probe that did not end as it should.

    Args:
        error: that ended it.
    """
    if isinstance(error, InputError):
        return Finding("broken", str(error))
    lines = str(error).strip().splitlines() or ["no message"]
    return Finding("broken", f"{type(error).__name__}: {lines[0]}")

"""What goes into the outbox, and what waits in it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyramidflow.line.record import Record


class Kept(NamedTuple):
    """A record to keep.

    Attributes:
        record: with an identity.
        pictures: encoded, by kind.
        wanted: the kinds of pictures that each sink gets, by its name.
    """

    record: Record
    pictures: Mapping[str, bytes]
    wanted: Mapping[str, Sequence[str]]


class Waiting(NamedTuple):
    """A delivery that waits.

    Attributes:
        part: its row in the history.
        record: as a JSON object.
        pictures: encoded, by kind.
    """

    part: int
    record: dict[str, Any]
    pictures: dict[str, bytes]

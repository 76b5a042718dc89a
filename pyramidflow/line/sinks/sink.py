"""What every sink of records is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pyramidflow.line.record import Record


class SinkSettings(BaseModel):
    """Settings that every sink has; each sink adds its own in a subclass.

    Attributes:
        kind: which sink; the configuration always says it.
        name: unique in the configuration; ``""`` takes the kind.
        stations: whose records it gets; none named is all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field("", description="Which sink.")
    name: str = Field("", description="Unique among the sinks; its kind where it is left out.")
    stations: tuple[str, ...] = Field((), description="Whose records it gets; none is all.")


class SinkAway(Exception):  # noqa: N818 - it is a state
    """The other side cannot be reached now: the same entries are delivered again later.

    Args:
        reason: a sentence without secrets.
        done: of the entries, how many were delivered before, from the first on.
        after: seconds that the other side asks to wait.
    """

    def __init__(self, reason: str, done: int = 0, after: float | None = None) -> None:
        super().__init__(reason)
        self.done = done
        self.after = after


class SinkRefused(Exception):  # noqa: N818 - it is an answer
    """The other side does not take an entry, and never will: it is set aside, with the reason.

    Args:
        reason: a sentence without secrets.
        done: of the entries, how many were delivered before; the one after them is refused, and
            those behind it are delivered again.
    """

    def __init__(self, reason: str, done: int = 0) -> None:
        super().__init__(reason)
        self.done = done


@dataclass(frozen=True)
class Entry:
    """A record on its way to a sink.

    Attributes:
        record: :meth:`pyramidflow.line.record.Record.as_dict`.
        pictures: encoded, by kind, where the sink asked for them.
    """

    record: Mapping[str, Any]
    pictures: Mapping[str, bytes] = field(default_factory=dict)


class Sink(ABC):
    """Where records go. A kind of sink is one file in this folder with one subclass.

    The file's name is what ``kind`` says in the configuration. Heavy libraries are imported where
    they are used, so that the schema of the configuration needs none of them. A sink is used by
    one thread, its own.

    Args:
        settings: of the class :attr:`Settings`.

    Raises:
        InputError: the settings cannot be honoured here; that the other side is away is no reason.
    """

    Settings: ClassVar[type[SinkSettings]]
    wants_pictures_alone: ClassVar[bool] = False
    """Whether a record without pictures is nothing to it: it is not delivered then."""

    longest_delay: ClassVar[float] = 60.0
    """Seconds between two tries, at most, while the other side is away."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.are_stations_at_work: Callable[[], bool] = lambda: True

    def serve(self, are_stations_at_work: Callable[[], bool]) -> None:
        """Learn of the stations that it serves, before the first delivery.

        Args:
            are_stations_at_work: whether every one of them runs or prepares; any thread may ask.
        """
        self.are_stations_at_work = are_stations_at_work

    def pictures(self, record: Record) -> Mapping[str, str]:
        """Kind (``image``, ``overlay``, ``map``) and place of the pictures it wants of a part.

        Asked in the line's writing thread: it must be quick. The places stand in the record.
        """
        return {}

    @abstractmethod
    def deliver(self, entries: Sequence[Entry]) -> None:
        """Deliver records in order; they are delivered when it returns.

        The same entries can come twice, after a crash: the identity tells.

        Raises:
            SinkAway: try again later, from the entry that it names on.
            SinkRefused: never try an entry again.
        """

    def tick(self) -> None:  # noqa: B027 - most sinks need none
        """Called about every second while nothing waits: for heartbeats and tidying.

        Raises:
            SinkAway: the other side cannot be reached; it is said in the status.
        """

    def status(self) -> dict[str, Any]:
        """What a person should know; JSON values."""
        return {}

    def close(self) -> None:  # noqa: B027 - most sinks need none
        """Let go of connections and files."""

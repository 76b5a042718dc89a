"""What every source of frames is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from threading import Event
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.record import Record


class SourceSettings(BaseModel):
    """Settings that every source has; each source adds its own in a subclass.

    Attributes:
        kind: which source; the configuration always says it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field("", description="Which source.")


class Recorded(Protocol):
    """The records of a station that are durable, by their identities."""

    def earlier(self, identity: str) -> Mapping[str, Any] | None:
        """The record of an identity, as a JSON object; ``None`` where the history has none."""

    def keep_only(self, present: Iterable[str]) -> int:
        """Forget all identities but those that can come again; returns how many went."""


class Source(ABC):
    """A source of frames. A kind of source is one file in this folder with one subclass.

    The file's name is what ``kind`` says in the configuration. Heavy libraries are imported where
    they are used, so that the schema of the configuration needs none of them.

    Args:
        settings: of the class :attr:`Settings`.
        station: that the frames belong to.
        recorded: what was recorded, in this run or an earlier one. A source does not ask for each
            frame: its station leaves out those whose identity has a record.

    Raises:
        InputError: the settings cannot be honoured here.
    """

    Settings: ClassVar[type[SourceSettings]]

    def __init__(self, settings: Any, station: str, recorded: Recorded) -> None:
        self.settings = settings
        self.station = station
        self.recorded = recorded

    def open(self) -> None:  # noqa: B027 - most sources need none
        """Take hold of what no other line may have; called once, before the frames.

        Raises:
            InputError: another line has it, or it cannot be had.
        """

    @abstractmethod
    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames as they come, until ``stop`` is set or there are no more.

        What can pass (an unplugged camera, a share that is away) is waited for, not raised.

        Raises:
            InputError: no frame will ever come.
        """

    def acknowledge(  # noqa: B027 - most sources need none
        self, frame: Frame, record: Record | None
    ) -> None:
        """The frame's record is durable: it may be archived or deleted, and must not come again.

        Args:
            frame: as the source gave it.
            record: its record; ``None`` where its identity had one already.
        """

    def give_up(self, reason: InputError) -> None:  # noqa: B027 - most sources need none
        """No further frame is ever taken: who waits for one is to be told.

        Args:
            reason: why.
        """

    def can_come_again(self, identity: str) -> bool:
        """Whether a picture that has a record may come once more with its identity.

        What cannot is not remembered once its record leaves the history.
        """
        return True

    def status(self) -> dict[str, Any]:
        """What a person should know: connected, dropped, waiting; JSON values."""
        return {}

    def close(self) -> None:  # noqa: B027 - most sources need none
        """Let go of devices and files."""

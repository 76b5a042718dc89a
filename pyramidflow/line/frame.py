"""A frame: an image to inspect, with its identity, its time and the name of its results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic
from typing import Any

from pyramidflow.data import Pixels
from pyramidflow.io.names import OutputNames
from pyramidflow.line.results.names import PICTURE_SUFFIXES, path_text
from pyramidflow.line.storable import storable, storable_metadata


def now() -> datetime:
    """The time by the wall clock, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image to inspect.

    Attributes:
        payload: the file; a file's bytes; or pixels ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]``, in
            the order red, green, blue.
        name: unique among the frames, without suffix; names the files written for it.
        problem: why there is no image, where that is known before it is decoded.
        identity: of this picture of this part, unique in its station for ever: a part with an
            identity that has a record is not inspected again. ``""`` where nobody asks for it. It
            becomes a text that every store takes.
        station: that it belongs to; ``""`` where there is but one.
        time: when it was taken, by the wall clock, in UTC: for records, never for durations.
        arrived: when the source had it, by ``time.monotonic()``, in seconds: for durations.
        source: where it comes from, as records say it; ``""`` takes the file's path.
        metadata: what the source knows about it, JSON values: trigger, exposure, serial number.
            What is no JSON becomes a text.
    """

    payload: Path | bytes | Pixels
    name: str
    problem: str | None = None
    identity: str = ""
    station: str = ""
    time: datetime = field(default_factory=now)
    arrived: float = field(default_factory=monotonic)
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Here and nowhere later: what is asked for, kept and delivered is the same text.
        object.__setattr__(self, "identity", storable(self.identity))
        object.__setattr__(self, "metadata", storable_metadata(self.metadata))

    def arrived_now(self) -> "Frame":
        """The frame, as if it had come now."""
        return replace(self, time=now(), arrived=monotonic())

    @property
    def path(self) -> Path | None:
        """The file, where the frame is one."""
        return self.payload if isinstance(self.payload, Path) else None

    @property
    def origin(self) -> str:
        """Where it comes from, as records say it."""
        return self.source or (path_text(self.path) if self.path is not None else self.name)


def with_free_names(frames: Iterable[Frame], taken: Iterable[str]) -> list[Frame]:
    """Give frames names that are unique, also among pictures that exist already.

    Args:
        frames: with the names that they would like.
        taken: pictures that stay, named below their folder.
    """
    names = OutputNames(PICTURE_SUFFIXES.values(), taken)
    return [replace(frame, name=names.claim(frame.name)) for frame in frames]

"""A frame: an image to inspect, with the name that its results go by."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pyramidflow.io.names import OutputNames
from pyramidflow.line.results import PICTURE_SUFFIXES


@dataclass(frozen=True)
class Frame:
    """An image to inspect.

    Attributes:
        path: the file, as the user named or found it.
        name: unique among the frames, without suffix; names the files written for it.
        problem: why there is no image at the path, where that is known before it is read.
    """

    path: Path
    name: str
    problem: str | None = None


def with_free_names(frames: Iterable[Frame], taken: Iterable[str]) -> list[Frame]:
    """Give frames names that are unique, also among pictures that exist already.

    Args:
        frames: with the names that they would like.
        taken: pictures that stay, named below their folder.
    """
    names = OutputNames(PICTURE_SUFFIXES.values(), taken)
    return [replace(frame, name=names.claim(frame.name)) for frame in frames]

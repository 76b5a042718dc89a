"""Pictures of parts that a person said something of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyramidflow.line.history.store import HistoryPart


@dataclass(frozen=True)
class MarkedPictures:
    """Pictures of parts that a person judged.

    Attributes:
        good: files of parts that were good.
        bad: files of parts that were bad.
        missing: marked parts whose picture is not there.
    """

    good: list[Path] = field(default_factory=list)
    bad: list[Path] = field(default_factory=list)
    missing: int = 0


def marked_pictures(parts: Iterable[HistoryPart], folders: Sequence[Path]) -> MarkedPictures:
    """Find the pictures of marked parts.

    A part's picture is the one that a sink kept (``image`` of the record), below one of the
    folders; or else the file that it was read from, if that still lies there.

    Args:
        parts: of a history.
        folders: of the sinks that keep pictures.
    """
    good: list[Path] = []
    bad: list[Path] = []
    missing = 0
    for part in parts:
        if part.good is None:
            continue
        picture = _picture(part, folders)
        if picture is None:
            missing += 1
        else:
            (good if part.good else bad).append(picture)
    return MarkedPictures(good, bad, missing)


def _picture(part: HistoryPart, folders: Sequence[Path]) -> Path | None:
    place = part.record.get("image")
    candidates = [folder / place for folder in folders] if isinstance(place, str) else []
    candidates.append(Path(part.record["path"]))
    return next((path for path in candidates if path.is_file()), None)

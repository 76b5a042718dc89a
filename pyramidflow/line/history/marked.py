"""Pictures of parts that a person said something of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from pyramidflow.line.history.columns import utc
from pyramidflow.line.history.store import HistoryPart
from pyramidflow.line.sources.file_identity import changed_and_size, content_identity

_NAME_TIME_SIZE: Final = re.compile(r":\d{16,}:\d+$")


@dataclass(frozen=True)
class MarkedPictures:
    """Pictures of parts that a person judged.

    Attributes:
        good: files of parts that were good.
        bad: files of parts that were bad.
        missing: marked parts whose picture is not there.
        changed: files of marked parts that hold another picture now.
    """

    good: list[Path] = field(default_factory=list)
    bad: list[Path] = field(default_factory=list)
    missing: int = 0
    changed: list[Path] = field(default_factory=list)


def marked_pictures(parts: Iterable[HistoryPart], folders: Sequence[Path]) -> MarkedPictures:
    """Find the pictures of marked parts.

    A part's picture is the one that a sink kept (``image`` of the record), below one of the
    folders; or else the file that it was read from, if that is still the same picture: by its
    identity, by time and size in its metadata, or else by not being younger than the record.

    Args:
        parts: of a history.
        folders: of the sinks that keep pictures.
    """
    good: list[Path] = []
    bad: list[Path] = []
    changed: list[Path] = []
    missing = 0
    for part in parts:
        if part.good is None:
            continue
        picture = _kept(part, folders)
        if picture is None:
            picture = Path(part.record["path"])
            if not picture.is_file():
                missing += 1
                continue
            if not _is_that_of(part, picture):
                changed.append(picture)
                continue
        (good if part.good else bad).append(picture)
    return MarkedPictures(good, bad, missing, changed)


def _kept(part: HistoryPart, folders: Sequence[Path]) -> Path | None:
    place = part.record.get("image")
    candidates = [folder / place for folder in folders] if isinstance(place, str) else []
    return next((path for path in candidates if path.is_file()), None)


def _is_that_of(part: HistoryPart, path: Path) -> bool:
    identity: str = part.record["identity"]
    metadata: Mapping[str, Any] = part.record.get("metadata") or {}
    try:
        changed, size = changed_and_size(path)
        if identity.startswith("sha256:"):
            return content_identity(path) == identity
        if _NAME_TIME_SIZE.search(identity):
            return identity.endswith(f":{changed}:{size}")
        moment = datetime.fromtimestamp(changed / 1e9, timezone.utc)
        if "modified" in metadata:
            known = metadata["modified"], metadata.get("bytes", size)
            return known == (moment.isoformat(), size)
        return moment <= utc(part.record["time"])
    except OSError:
        return False

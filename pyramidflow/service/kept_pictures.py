"""Pictures of parts as the line's sinks keep them in folders."""

from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from pyramidflow.line.history.search import part_of
from pyramidflow.service.context import Context

_KINDS: Final = {"heat": "overlay", "plain": "image"}
_SHOWN: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MOST_BYTES: Final = 200_000_000


class KeptPicture(NamedTuple):
    """A picture's file.

    Attributes:
        path: of it.
        media_type: that a browser shows.
    """

    path: Path
    media_type: str


def kept_picture(context: Context, station: str, identity: str, kind: str) -> KeptPicture | None:
    """The picture of a part in a sink's folder; ``None`` where there is none to show.

    Args:
        context: of the service.
        station: of the part.
        identity: of the part.
        kind: ``"heat"`` or ``"plain"``.
    """
    found = part_of(context.store, station, identity)
    place = None if found is None else found.record.get(_KINDS[kind])
    if not isinstance(place, str) or not place:
        return None
    for folder in context.folders:
        path = _below(folder, place)
        if path is not None:
            return _looked_at(path)
    return None


def _below(folder: Path, place: str) -> Path | None:
    """The file, where it truly lies in the folder: a place may hold ``..`` or go through a link."""
    try:
        inside = folder.resolve()
        path = (inside / place).resolve()
        is_good = path.is_relative_to(inside) and path.is_file()
        return path if is_good and path.stat().st_size <= _MOST_BYTES else None
    except (OSError, ValueError):
        return None


def _looked_at(path: Path) -> KeptPicture | None:
    try:
        with Image.open(path) as opened:  # the header alone: what it truly is
            media_type = _SHOWN.get(opened.format or "")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return None if media_type is None else KeptPicture(path, media_type)

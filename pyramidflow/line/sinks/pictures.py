"""Pictures of parts in a folder, kept for a time and up to a size."""

import hashlib
import heapq
import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal

from pydantic import Field

from pyramidflow.io.files import unwritable
from pyramidflow.io.names import safe_component
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkSettings

_SUFFIXES: Final = {"overlay": ".png", "map": ".tiff"}
_IN_HAND: Final = re.compile(r"\.picture(-[0-9a-f]{8})?\.tmp")
_LONGEST_IN_HAND: Final = 3600.0
"""Seconds after which a picture in hand is one that a killed line left."""

_SECONDS_BETWEEN_TIDYINGS: Final = 60.0
_DIGITS: Final = 8  # of the digest that keeps two names apart
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_NAME: Final = re.compile(rf".*-[0-9a-f]{{{_DIGITS}}}\.(image|overlay|map)\..+", re.DOTALL)

_REMOVED_AT_ONCE: Final = 500
"""Pictures that are looked for together: memory does not grow with those that are kept."""


class PicturesSettings(SinkSettings):
    """Settings of :class:`PicturesSink`.

    Attributes:
        folder: where pictures lie.
        kinds: of pictures.
        keep: of which parts.
        share_of_ok: of good parts whose pictures are kept beside the others'.
        keep_days: how long.
        most_bytes: how many.
    """

    folder: Path = Field(description="Where the pictures lie, a folder for each day and station.")
    kinds: tuple[Literal["image", "overlay", "map"], ...] = Field(
        ("image", "overlay"),
        description="image is the picture as it came, overlay shows the map on it, map is the raw "
        "anomaly map as float32 TIFF.",
    )
    keep: Literal["all", "not ok"] = Field(
        "not ok", description="Whose pictures are kept: all parts', or only those not ok."
    )
    share_of_ok: float = Field(
        0.0, ge=0, le=1, description="Share of the good parts whose pictures are kept as well."
    )
    keep_days: float | None = Field(
        None, gt=0, description="Pictures that are older are removed; without it they stay."
    )
    most_bytes: int | None = Field(
        None, gt=0, description="Beyond this size the oldest pictures are removed."
    )


class PicturesSink(Sink):
    """Writes pictures to ``DAY/STATION/NAME-DIGEST.KIND.SUFFIX`` below its folder.

    The day is the record's, in UTC. The digest is of the identity, so no two parts share a name.
    Which good parts are in the sample follows from their identity alone. Sinks of several lines may
    share the folder, where their stations have names of their own.
    """

    Settings = PicturesSettings
    wants_pictures_alone = True

    def __init__(self, settings: PicturesSettings) -> None:
        super().__init__(settings)
        self._next_tidying = monotonic()
        self._removed = 0

    def pictures(self, record: Record) -> Mapping[str, str]:
        """Kind and place of the pictures that are kept of a part."""
        settings: PicturesSettings = self.settings
        digest = hashlib.sha256(f"{record.station}\n{record.identity}".encode(errors="replace"))
        if settings.keep == "not ok" and record.verdict == "ok":
            drawn = int.from_bytes(digest.digest()[:8], "big") / 2**64
            if drawn >= settings.share_of_ok:
                return {}
        station = safe_component(record.station or "station")
        stem = safe_component(Path(record.identity).stem)[:80]
        start = f"{_day(record.time)}/{station}/{stem}-{digest.hexdigest()[:_DIGITS]}"
        return {
            kind: f"{start}.{kind}{_SUFFIXES.get(kind) or _image_suffix(record)}"
            for kind in settings.kinds
        }

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write the pictures.

        Raises:
            SinkAway: the folder cannot be written.
        """
        for done, entry in enumerate(entries):
            for kind, data in entry.pictures.items():
                try:
                    self._write(entry.record[kind], data)
                except OSError as error:
                    reason = str(unwritable(self.settings.folder, error))
                    raise SinkAway(reason, done) from error
        self._tidy()

    def tick(self) -> None:
        """Remove what is too old or too much."""
        self._tidy()

    def status(self) -> dict[str, Any]:
        """How many pictures were removed."""
        return {"pictures_removed": self._removed}

    def _write(self, place: str, data: bytes) -> None:
        path = self.settings.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        in_hand = self.settings.folder / f".picture-{secrets.token_hex(4)}.tmp"
        try:
            # Synced: the outbox lets go of the picture when this returns.
            with in_hand.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            in_hand.replace(path)
        except BaseException:
            with suppress(OSError):
                in_hand.unlink()
            raise

    def _tidy(self) -> None:
        settings: PicturesSettings = self.settings
        if monotonic() < self._next_tidying:
            return
        self._next_tidying = monotonic() + _SECONDS_BETWEEN_TIDYINGS
        _remove_left_over(settings.folder)
        if settings.keep_days is None and settings.most_bytes is None:
            return
        keep_from = 0.0 if settings.keep_days is None else time.time() - 86400 * settings.keep_days
        too_much = -math.inf
        if settings.most_bytes is not None:
            too_much = sum(size for _, _, size in _pictures_below(settings.folder))
            too_much -= settings.most_bytes
        removed = -1
        while removed != self._removed:  # what cannot be removed is not tried for ever
            removed = self._removed
            for written, path, size in heapq.nsmallest(
                _REMOVED_AT_ONCE, _pictures_below(settings.folder)
            ):
                if written >= keep_from and too_much <= 0:
                    return
                if _is_removed(Path(path)):
                    self._removed += 1
                    too_much -= size


def _remove_left_over(folder: Path) -> None:
    """Remove what killed lines left in hand; not what another sink is writing."""
    for entry in _entries(folder):
        if _IN_HAND.fullmatch(entry.name):
            with suppress(OSError):
                if time.time() - entry.stat().st_mtime > _LONGEST_IN_HAND:
                    os.unlink(entry.path)


def _is_removed(path: Path) -> bool:
    """Remove a picture, and the folders of its station and day if it was their last one."""
    try:
        path.unlink()
    except OSError:
        return False
    with suppress(OSError):  # the first folder that is not empty ends it
        path.parent.rmdir()
        path.parent.parent.rmdir()
    return True


def _pictures_below(folder: Path) -> Iterator[tuple[float, str, int]]:
    """When each picture was written, its path and size; only files named as this sink does."""
    for day in _entries(folder):
        if _DAY.fullmatch(day.name):
            for station in _entries(day.path):
                for picture in _entries(station.path):
                    if _NAME.fullmatch(picture.name):
                        with suppress(OSError):
                            found = picture.stat()
                            yield found.st_mtime, picture.path, found.st_size


def _entries(folder: str | Path) -> "Iterator[os.DirEntry[str]]":
    """What lies in a folder, one after the other; nothing in a file or in what is gone."""
    with suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def _day(moment: datetime | None) -> str:
    return "0000-00-00" if moment is None else f"{moment:%Y-%m-%d}"


def _image_suffix(record: Record) -> str:
    suffix = Path(record.path).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 else ".png"

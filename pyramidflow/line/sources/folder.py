"""A watched folder: every picture that is put there, once, when it is written to its end."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from pathlib import Path, PurePath
from threading import Event
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from pyramidflow.data import IMAGE_SUFFIXES
from pyramidflow.errors import InputError
from pyramidflow.io.files import exclusive, unwritable
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.frame import Frame
from pyramidflow.line.record import Record
from pyramidflow.line.sources.completeness import Ending, ending_of
from pyramidflow.line.sources.file_identity import (
    changed_and_size,
    content_identity,
    file_identity,
)
from pyramidflow.line.sources.put_away import PutAway
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings
from pyramidflow.line.sources.watching import changes_in
from pyramidflow.line.storable import storable

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.02
"""Seconds for which a file whose end mark could be one in its middle must not grow."""

_A_DAY: Final = 86_400.0


class FolderSettings(SourceSettings):
    """Which folder, and what becomes of its pictures."""

    path: Path = Field(description="The folder; it is made where it is missing.")
    recursive: bool = Field(True, description="Also the folders below it.")
    after: Literal["keep", "archive", "delete"] = Field(
        "keep", description="What becomes of a picture once its record is safe."
    )
    archive: Path | None = Field(
        None, description="Where pictures are moved, into a folder for each day."
    )
    identity: Literal["path", "content"] = Field(
        "path",
        description="Which pictures are the same: by name, time and size, or by content, so that "
        "a copy counts once.",
    )
    pattern: str | None = Field(
        None,
        description="Regular expression that a name must fit; named groups become metadata, and "
        "(?P<identity>…) the part's identity.",
    )
    settle_seconds: float = Field(
        1.0, ge=0, description="How long a file without an end mark (TIFF, …) must not change."
    )
    patience_seconds: float = Field(
        10.0, ge=0, description="How long a file that is cut off or unreadable is waited for."
    )
    rescan_seconds: float = Field(
        10.0, gt=0, description="How often the whole folder is listed, for what no event told."
    )
    polling: bool = Field(
        False, description="List instead of waiting for events: for shares over the network."
    )

    @field_validator("pattern")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression ({error}): mend it") from error
        return value


@dataclass
class _Candidate:
    """A file that may not be complete yet, as it was seen last."""

    changed: int
    size: int
    since: float
    ending: Ending | None = None
    """``None`` where it cannot be read."""


class FolderSource(Source):
    """A watched folder: complete files only, never twice, also after a restart."""

    Settings = FolderSettings

    def __init__(self, settings: FolderSettings, station: str, recorded: Recorded) -> None:
        super().__init__(settings, station, recorded)
        need("watchfiles", "line", "the source folder")
        self._folder = Path(os.path.abspath(settings.path))
        self._pattern = re.compile(settings.pattern or "")
        self._candidates: dict[Path, _Candidate] = {}
        self._taken: set[bytes] = set()
        self._in_hand: dict[tuple[Path, str], tuple[int, int]] = {}
        self._unreadable: set[str] = set()
        self._held = ExitStack()
        self._device = 0
        self._archive: Path | None = None
        if settings.after == "archive":
            if settings.archive is None:
                raise InputError("source.archive is missing: name a folder to move pictures to.")
            self._archive = Path(os.path.abspath(settings.archive))
        self._put_away = PutAway(self._folder, self._archive)

    def open(self) -> None:
        """Make the folder, and keep it from other lines where pictures are put away."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self._folder, error) from error
        self._device = os.stat(self._folder).st_dev
        if self.settings.after != "keep":  # two lines would take each other's pictures away
            lock = self._folder / "pyramidflow-line"
            self._held.enter_context(
                exclusive(lock, advice="a line is watching it already; give each its own folder")
            )

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames of complete files, oldest first, those that lie there at the start included."""
        rescan = 0.0
        pruning = time.monotonic() + _A_DAY
        for changed in changes_in(
            self._folder, stop, self.settings.recursive, self.settings.polling
        ):
            if time.monotonic() >= rescan:
                self._look_at_all()
                rescan = time.monotonic() + self.settings.rescan_seconds
            if time.monotonic() >= pruning:
                self._forget_what_is_gone()
                pruning = time.monotonic() + _A_DAY
            for path in changed:
                self._look_at_changed(path)
            for frame in self._complete():
                if stop.is_set():
                    return
                yield frame

    def acknowledge(self, frame: Frame, record: Record | None) -> None:
        """Archive or delete the file, if it is still the one that was inspected.

        Only a picture that could be inspected is deleted.
        """
        if frame.path is None:
            return
        seen = self._in_hand.pop((frame.path, frame.identity), None)
        if record is None:
            self._warn_of_another(frame.path, frame)
        is_inspected = record is not None and record.verdict is not None
        if seen is None or self.settings.after == "keep":
            return
        if self.settings.after == "archive" or is_inspected:
            self._put_away.put(frame.path, seen)

    def status(self) -> dict[str, Any]:
        """How many files are not complete yet, could not be put away, folders not be listed."""
        return {
            "incomplete": len(self._candidates),
            "not_put_away": self._put_away.left,
            "unreadable_folders": len(self._unreadable),
        }

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()

    def _look_at_all(self) -> None:
        self._put_away.try_again()
        present, unreadable = set(), set[str]()
        try:
            for path in self._files(self._folder, unreadable):
                if (key := self._look_at(path)) is not None:
                    present.add(key)
        except OSError as error:
            log.warning("%s cannot be listed (%s)", printable(self._folder), error.strerror)
            return
        for said in sorted(unreadable - self._unreadable):
            log.warning(
                "%s: %s: its pictures are not inspected; let the line read it",
                self.station,
                said,
            )
        self._unreadable = unreadable
        if not unreadable:
            self._taken &= present

    def _forget_what_is_gone(self) -> None:
        """Let the store forget identities of files that are gone, so that it does not grow.

        Not where the folder is empty, cannot be read as a whole, or is another one: a disk that is
        away comes back.
        """
        if self.settings.identity == "content":
            return
        present, unreadable = [], set[str]()
        try:
            for path in self._files(self._folder, unreadable):
                if self._is_picture(path):
                    with suppress(FileNotFoundError):  # it went meanwhile
                        present.append(self._identity(path, *changed_and_size(path)))
            is_whole = not unreadable and os.stat(self._folder).st_dev == self._device
        except OSError as error:
            log.warning("%s cannot be listed (%s)", printable(self._folder), error.strerror)
            return
        if present and is_whole:
            self.recorded.keep_only(present)

    def _look_at_changed(self, path: Path) -> None:
        # Of a new folder's files the system may not tell: they came before it was watched.
        is_folder = self.settings.recursive and os.path.isdir(path)
        for file in self._files(path, set()) if is_folder else [path]:
            self._look_at(file)

    def _files(self, folder: Path, unreadable: set[str]) -> Iterator[Path]:
        """Files of a folder; what cannot be listed below it is added to ``unreadable``."""

        def note(error: OSError) -> None:
            if error.filename == str(self._folder):
                raise error
            if not isinstance(error, FileNotFoundError):
                place = printable(error.filename)
                unreadable.add(f"{place} cannot be listed ({error.strerror})")

        for parent, below, names in os.walk(folder, onerror=note):
            below[:] = [name for name in below if self.settings.recursive]
            if not os.access(parent, os.X_OK):  # names without their files
                unreadable.add(f"{printable(parent)} cannot be entered (Permission denied)")
            yield from (Path(parent, name) for name in names)

    def _is_picture(self, path: Path) -> bool:
        if path.suffix.lower() not in IMAGE_SUFFIXES or not self._pattern.search(path.name):
            return False
        if self._archive is not None and self._archive in path.parents:
            return False
        relative = path.relative_to(self._folder)
        return not any(part.startswith(".") for part in relative.parts)

    def _look_at(self, path: Path) -> bytes | None:
        """Note a file that may be complete soon; returns the key of a picture that is there."""
        if not self._is_picture(path):
            return None
        try:
            changed, size = changed_and_size(path)
            key = _key(path, changed, size)
            if key in self._taken:
                return key
            seen = self._candidates.get(path)
            if seen is None or (seen.changed, seen.size) != (changed, size):
                seen = _Candidate(changed, size, time.monotonic())
            if seen.ending is None:
                seen.ending = _ending(path)
            self._candidates[path] = seen
        except OSError:  # it went
            self._candidates.pop(path, None)
            return None
        return key

    def _complete(self) -> Iterator[Frame]:
        for path in list(self._candidates):
            self._look_at(path)
        ready = [path for path, seen in self._candidates.items() if self._is_complete(path, seen)]
        ready.sort(key=lambda path: (self._candidates[path].changed, path))
        for path in ready:
            seen = self._candidates.pop(path)
            try:
                frame = self._frame(path, seen)
            except OSError:  # it went
                continue
            self._taken.add(_key(path, seen.changed, seen.size))
            yield frame

    def _is_complete(self, path: Path, seen: _Candidate) -> bool:
        unchanged = time.monotonic() - seen.since
        if seen.ending == "unknown":
            return unchanged >= float(self.settings.settle_seconds)
        if seen.ending in ("cut off", None):
            return unchanged >= float(self.settings.patience_seconds)
        return path.suffix.lower() not in (".jpg", ".jpeg") or unchanged >= _LOOK_AGAIN

    def _frame(self, path: Path, seen: _Candidate) -> Frame:
        relative = path.relative_to(self._folder)
        told = {key: value for key, value in self._told(path).items() if key != "identity"}
        changed = datetime.fromtimestamp(seen.changed / 1e9, timezone.utc)
        frame = Frame(
            path,
            relative.with_suffix("").as_posix(),
            identity=self._identity(path, seen.changed, seen.size),
            station=self.station,
            metadata={**told, "modified": changed.isoformat(), "bytes": seen.size},
        )
        self._in_hand[path, frame.identity] = (seen.changed, seen.size)
        return frame

    def _told(self, path: Path) -> dict[str, str]:
        """What a name says, by the groups of the pattern."""
        fits = self._pattern.search(path.name)
        groups = {} if fits is None else fits.groupdict()
        return {key: storable(value) for key, value in groups.items() if value is not None}

    def _identity(self, path: Path, changed: int, size: int) -> str:
        told = self._told(path).get("identity")
        if told is not None:
            return told
        if self.settings.identity == "content":
            try:
                return content_identity(path)
            except FileNotFoundError:
                raise
            except OSError:  # its turn says more
                pass
        return file_identity(path.relative_to(self._folder).as_posix(), changed, size)

    def _warn_of_another(self, path: Path, frame: Frame) -> None:
        """Say that a picture is not inspected because another one has its identity."""
        if "identity" not in self._told(path):  # a copy, or the same file
            return
        earlier = self.recorded.earlier(frame.identity)
        if earlier is None:
            return
        name, metadata = PurePath(earlier["path"]).name, earlier["metadata"]
        is_same = name == PurePath(frame.origin).name and all(
            metadata.get(key, frame.metadata[key]) == frame.metadata[key]
            for key in ("modified", "bytes")
        )
        if not is_same:
            log.warning(
                "%s: %s was not inspected: %s of another name, time or size has a record with its "
                "identity %s: give each picture an identity of its own",
                self.station,
                printable(path.name),
                printable(name),
                printable(frame.identity),
            )


def _ending(path: Path) -> Ending | None:
    try:
        return ending_of(path)
    except FileNotFoundError:
        raise
    except OSError:
        return None


def _key(path: Path, changed: int, size: int) -> bytes:
    """Sixteen bytes for a file as it is: a folder may hold millions."""
    return blake2b(os.fsencode(f"{path}\0{changed}\0{size}"), digest_size=16).digest()

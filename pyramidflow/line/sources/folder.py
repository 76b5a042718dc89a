"""A watched folder: every picture that is put there, once, when it is written to its end."""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from pathlib import Path
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
from pyramidflow.line.sources.file_identity import content_identity, file_identity
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings
from pyramidflow.line.sources.watching import changes_in

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 0.02
"""Seconds for which a file whose end mark could be one in its middle must not grow."""

_A_DAY: Final = 86_400.0

_ASKED_AT_ONCE: Final = 500
"""Identities."""


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
        10.0, ge=0, description="How long a file that is cut off is waited for."
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
    ending: Ending


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
        self._in_hand: dict[str, tuple[int, int]] = {}
        self._held = ExitStack()
        self._device = 0
        self._archive: Path | None = None
        if settings.after == "archive":
            if settings.archive is None:
                raise InputError("source.archive is missing: name a folder to move pictures to.")
            self._archive = Path(os.path.abspath(settings.archive))

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
        seen = self._in_hand.pop(frame.identity, None)
        is_inspected = record is not None and record.verdict is not None
        if frame.path is None or self.settings.after == "keep":
            return
        if self.settings.after == "delete" and not is_inspected:
            return
        try:
            if _changed_and_size(frame.path) == seen:
                self._put_away(frame.path)
        except OSError as error:  # the next listing tries again
            log.warning("%s could not be put away (%s)", printable(frame.path), error.strerror)

    def status(self) -> dict[str, Any]:
        """How many files are not complete yet."""
        return {"incomplete": len(self._candidates)}

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()

    def _look_at_all(self) -> None:
        present = set()
        try:
            for path in self._files(self._folder):
                if (key := self._look_at(path)) is not None:
                    present.add(key)
        except OSError as error:
            log.warning("%s cannot be listed (%s)", printable(self._folder), error.strerror)
            return
        self._taken &= present
        self._candidates = {p: c for p, c in self._candidates.items() if p.exists()}

    def _forget_what_is_gone(self) -> None:
        """Let the store forget identities of files that are gone, so that it does not grow.

        Not where the folder is empty or another one: a disk that is away comes back.
        """
        if self.settings.identity == "content":
            return
        present = []
        for path in self._files(self._folder):
            if self._is_picture(path):
                with suppress(OSError):
                    present.append(self._identity(path, *_changed_and_size(path)))
        if present and os.stat(self._folder).st_dev == self._device:
            self.recorded.keep_only(present)

    def _look_at_changed(self, path: Path) -> None:
        # Of a new folder's files the system may not tell: they came before it was watched.
        for file in self._files(path) if self.settings.recursive and path.is_dir() else [path]:
            self._look_at(file)

    def _files(self, folder: Path) -> Iterator[Path]:
        def fail(error: OSError) -> None:
            if error.filename == str(self._folder):
                raise error

        for parent, below, names in os.walk(folder, onerror=fail):
            below[:] = [name for name in below if self.settings.recursive]
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
            changed, size = _changed_and_size(path)
            key = _key(path, changed, size)
            if key in self._taken:
                return key
            before = self._candidates.get(path)
            if before is None or (before.changed, before.size) != (changed, size):
                self._candidates[path] = _Candidate(
                    changed, size, time.monotonic(), ending_of(path)
                )
        except OSError:  # it went, or cannot be read yet
            self._candidates.pop(path, None)
            return None
        return key

    def _complete(self) -> Iterator[Frame]:
        for path in list(self._candidates):
            self._look_at(path)
        ready = [path for path, seen in self._candidates.items() if self._is_complete(path, seen)]
        ready.sort(key=lambda path: (self._candidates[path].changed, path))
        for start in range(0, len(ready), _ASKED_AT_ONCE):
            yield from self._unknown(ready[start : start + _ASKED_AT_ONCE])

    def _is_complete(self, path: Path, seen: _Candidate) -> bool:
        unchanged = time.monotonic() - seen.since
        if seen.ending == "unknown":
            return unchanged >= float(self.settings.settle_seconds)
        if seen.ending == "cut off":
            return unchanged >= float(self.settings.patience_seconds)
        return path.suffix.lower() not in (".jpg", ".jpeg") or unchanged >= _LOOK_AGAIN

    def _unknown(self, paths: Iterable[Path]) -> Iterator[Frame]:
        """Frames of those files that have no record yet; the others are put away."""
        frames = []
        for path in paths:
            seen = self._candidates.pop(path)
            try:
                frames.append(self._frame(path, seen))
            except OSError:  # it went
                continue
            self._taken.add(_key(path, seen.changed, seen.size))
        known = self.recorded.known([frame.identity for frame in frames])
        for frame in frames:
            if frame.identity in known:
                self.acknowledge(frame, None)
            else:
                yield frame.arrived_now()

    def _frame(self, path: Path, seen: _Candidate) -> Frame:
        relative = path.relative_to(self._folder)
        identity = self._identity(path, seen.changed, seen.size)
        told = {key: value for key, value in self._told(path).items() if key != "identity"}
        self._in_hand[identity] = (seen.changed, seen.size)
        changed = datetime.fromtimestamp(seen.changed / 1e9, timezone.utc)
        return Frame(
            path,
            relative.with_suffix("").as_posix(),
            identity=identity,
            station=self.station,
            metadata={**told, "modified": changed.isoformat()},
        )

    def _told(self, path: Path) -> dict[str, str]:
        """What a name says, by the groups of the pattern."""
        fits = self._pattern.search(path.name)
        groups = {} if fits is None else fits.groupdict()
        return {key: value for key, value in groups.items() if value is not None}

    def _identity(self, path: Path, changed: int, size: int) -> str:
        told = self._told(path).get("identity")
        if told is not None:
            return told
        if self.settings.identity == "content":
            return content_identity(path)
        return file_identity(path.relative_to(self._folder).as_posix(), changed, size)

    def _put_away(self, path: Path) -> None:
        if self._archive is None:
            path.unlink()
            return
        day = datetime.now().astimezone().date().isoformat()
        target = self._archive / day / path.relative_to(self._folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 2
        while target.exists():
            target = target.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        shutil.move(path, target)


def _changed_and_size(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


def _key(path: Path, changed: int, size: int) -> bytes:
    """Sixteen bytes for a file as it is: a folder may hold millions."""
    return blake2b(os.fsencode(f"{path}\0{changed}\0{size}"), digest_size=16).digest()

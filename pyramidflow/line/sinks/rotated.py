"""Files of lines that start anew with each day or size, and never keep half a line."""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import Field, field_validator

from pyramidflow.errors import InputError
from pyramidflow.io.files import exclusive, unwritable
from pyramidflow.io.names import printable, safe_component
from pyramidflow.line.sinks.sink import Entry, SinkAway, SinkSettings

_TAIL_BYTES: Final = 8_000_000
_REMEMBERED: Final = 5_000
"""Lines that are compared with what comes again; many times more than one delivery has."""


class RotatedSettings(SinkSettings):
    """Settings of sinks that write lines into files of a folder.

    Attributes:
        folder: where the files lie.
        start: of the files' names.
        daily: whether each day has its own files.
        largest_bytes: of a file.
    """

    folder: Path = Field(description="Where the files lie; made where it is missing.")
    start: str = Field(
        "records", description="How the files' names start, as in records-2026-03-01-0001."
    )
    daily: bool = Field(True, description="Start a new file with each day, by UTC.")
    largest_bytes: int = Field(
        100_000_000, ge=1_000, description="Start a new file where this size would be exceeded."
    )

    @field_validator("start")
    @classmethod
    def _is_a_name(cls, start: str) -> str:
        if safe_component(start) != start:
            raise ValueError(f"{start!r} cannot start a file's name: use letters and digits")
        return start


class RotatedFile:
    """Lines in files ``START-DAY-NUMBER.SUFFIX``, one after the other.

    Lines are on the disk when :meth:`write` returns. Half a line that a crash left is cut off. What
    a crash brings again is told by station and identity: the end of the files is read at the start.

    Args:
        settings: where to write, and when to start anew.
        suffix: of the files, with its dot.
        key_of: station and identity that a line holds; ``None`` where it holds none.
        header: first line of every file; one that starts with another is not gone on with.
    """

    def __init__(
        self,
        settings: RotatedSettings,
        suffix: str,
        key_of: Callable[[bytes], tuple[str, str] | None],
        header: bytes = b"",
    ) -> None:
        self._settings = settings
        self._suffix = suffix
        self._key_of = key_of
        self._header = header
        self._name = re.compile(
            rf"{re.escape(settings.start)}-(?:\d{{4}}-\d\d-\d\d-)?\d{{4,}}{re.escape(suffix)}"
        )
        self._lock: ExitStack | None = None
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._size = 0
        self._recent: deque[tuple[str, str]] = deque()
        self._known: set[tuple[str, str]] = set()

    def write(self, entries: Sequence[Entry], lines: Sequence[bytes]) -> None:
        """Append the lines of records that are not there yet.

        Args:
            entries: records.
            lines: of each, with its end.

        Raises:
            SinkAway: the folder cannot be written, or another process writes there.
        """
        try:
            if self._lock is None:
                self._open()
            for entry, line in zip(entries, lines, strict=True):
                key = _key(entry.record["station"], entry.record["identity"])
                if key not in self._known:
                    self._append(line)
                    self._remember(key)
            if self._file is not None:
                os.fsync(self._file.fileno())
        except OSError as error:
            # What was written of it stays; it is read when the files are opened again.
            self.close()
            raise SinkAway(str(unwritable(self._settings.folder, error))) from error
        except InputError as error:
            self.close()
            raise SinkAway(str(error)) from error

    def close(self) -> None:
        """Close the file, and let others write to the folder."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> None:
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(exclusive(folder / f"{self._settings.start}{self._suffix}"))
            self._recent.clear()
            self._known.clear()
            paths = sorted(path for path in folder.iterdir() if self._name.fullmatch(path.name))
            if paths:
                self._take_up(paths[-1])
            self._remember_ends(paths)
            self._lock = stack.pop_all()

    def _take_up(self, path: Path) -> None:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - _TAIL_BYTES)
            file.seek(start)
            end = start + file.read().rfind(b"\n") + 1
            if end != size:
                file.truncate(end)
            file.seek(0)
            has_our_header = not end or file.read(len(self._header)) == self._header
        self._path = path
        if has_our_header:  # else another version named other columns: a new file begins
            self._start(path)

    def _remember_ends(self, paths: Sequence[Path]) -> None:
        found: list[tuple[str, str]] = []
        for path in reversed(paths):
            keys = [self._key_of(line) for line in _last_lines(path)]
            found[:0] = [_key(*key) for key in keys if key is not None]
            if len(found) >= _REMEMBERED:
                break
        for key in found:
            self._remember(key)

    def _append(self, line: bytes) -> None:
        if self._file is None or not self._has_room(len(line)):
            self._start(self._next_path())
        if self._size == 0:
            line = self._header + line
        assert self._file is not None
        try:
            left = memoryview(line)
            while left:  # a disk that becomes full takes a part first
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(line)

    def _start(self, path: Path) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
        self._file = path.open("ab", buffering=0)
        self._path = path
        self._size = self._file.seek(0, os.SEEK_END)

    def _has_room(self, further: int) -> bool:
        assert self._path is not None
        is_today = not self._settings.daily or self._path.name.startswith(self._day_start())
        return is_today and (not self._size or self._size + further <= self._settings.largest_bytes)

    def _next_path(self) -> Path:
        start = self._day_start()
        number = 1
        if self._path is not None and self._path.name.startswith(start):
            number = int(self._path.name.removesuffix(self._suffix).rpartition("-")[2]) + 1
        return self._settings.folder / f"{start}{number:04}{self._suffix}"

    def _day_start(self) -> str:
        day = f"{datetime.now(timezone.utc):%Y-%m-%d}-" if self._settings.daily else ""
        return f"{self._settings.start}-{day}"

    def _remember(self, key: tuple[str, str]) -> None:
        if len(self._recent) >= _REMEMBERED:
            self._known.discard(self._recent.popleft())
        self._recent.append(key)
        self._known.add(key)


def _key(station: str, identity: str) -> tuple[str, str]:
    # As a line may have to write them.
    return printable(station), printable(identity)


def _last_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        lines = file.read().splitlines()
    yield from lines[1:] if start else lines

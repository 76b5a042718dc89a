"""Pictures that lie there: files, folders and patterns; the line ends with the last of them."""

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

from pydantic import Field

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.listing import find_frames
from pyramidflow.line.sources.file_identity import file_identity
from pyramidflow.line.sources.source import Source, SourceSettings


class FilesSettings(SourceSettings):
    """Which files."""

    paths: tuple[Path, ...] = Field(
        min_length=1,
        description="Files, folders with all images below them, and patterns such as in/*.png.",
    )


class FilesSource(Source):
    """Files, folders and patterns; each file once, the line ends with the last."""

    Settings = FilesSettings

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames in the order of the paths."""
        for frame in find_frames(self._named()).frames:
            if stop.is_set():
                return
            identity = _identity(frame)
            yield replace(frame, identity=identity, station=self.station).arrived_now()

    def _named(self) -> list[Path]:
        found: list[Path] = []
        for path in self.settings.paths:
            if not glob.has_magic(str(path)) or path.exists():
                found.append(path)
                continue
            matching = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
            if not matching:
                raise InputError(f"no file fits {printable(path)}: name images or folders.")
            found += matching
        return found


def _identity(frame: Frame) -> str:
    try:
        found = os.stat(frame.origin if frame.path is None else frame.path)
    except OSError:  # its turn says more
        return frame.origin
    return file_identity(frame.origin, found.st_mtime_ns, found.st_size)

"""Pictures that lie there: files, folders and patterns; the line ends with the last of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

from pydantic import Field

from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.listing import find_frames, named_paths
from pyramidflow.line.sources.file_identity import path_identity
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

    def open(self) -> None:
        """See whether there is a file for each pattern."""
        try:
            named_paths(self.settings.paths)
        except InputError as error:
            raise InputError(f"source.paths: {error}") from error

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames in the order of the paths."""
        for frame in find_frames(named_paths(self.settings.paths)).frames:
            if stop.is_set():
                return
            identity = path_identity(frame.origin, frame.path or Path(frame.origin))
            yield replace(frame, identity=identity, station=self.station).arrived_now()

"""A video file: its frames in order; the line ends with the last."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from pydantic import Field

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.results.names import path_text
from pyramidflow.line.sources.file_identity import file_identity
from pyramidflow.line.sources.opencv import from_opencv, opencv
from pyramidflow.line.sources.source import Source, SourceSettings


class VideoSettings(SourceSettings):
    """Which video, and which of its frames."""

    path: Path = Field(description="The video file, in a format that OpenCV reads.")
    every: int = Field(1, ge=1, description="Takes every so many frames.")


class VideoSource(Source):
    """A video file, frame after frame; the line ends with the last."""

    Settings = VideoSettings

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Frames with their number in the identity, so that a restart goes on from there."""
        cv2 = opencv()
        path = self.settings.path
        capture = cv2.VideoCapture(str(path))
        try:
            if not path.is_file() or not capture.isOpened():
                raise InputError(
                    f"{printable(path)} is no video that can be read: give a video file."
                )
            found = os.stat(path)
            identity = file_identity(path_text(path), found.st_mtime_ns, found.st_size)
            number = 0
            while not stop.is_set() and capture.grab():
                if number % self.settings.every == 0:
                    is_there, picture = capture.retrieve()
                    if not is_there:
                        break
                    yield Frame(
                        from_opencv(picture),
                        f"{path.stem}-{number:06}",
                        identity=f"{identity}#{number}",
                        station=self.station,
                        source=f"{path_text(path)}#{number}",
                        metadata={
                            "frame": number,
                            "position_ms": capture.get(cv2.CAP_PROP_POS_MSEC),
                        },
                    )
                number += 1
        finally:
            capture.release()

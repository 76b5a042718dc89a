"""A camera that OpenCV reads: USB by its number, an IP camera by its URL."""

import logging
import re
import secrets
import threading
from collections.abc import Iterator
from threading import Event
from time import monotonic
from typing import Any, Final

from pydantic import Field

from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.sources.newest import Newest
from pyramidflow.line.sources.opencv import from_opencv, opencv
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings

log = logging.getLogger(__name__)

_LONGEST_WAIT: Final = 30.0
"""Seconds between two tries to reach a camera."""


class CameraSettings(SourceSettings):
    """Which camera."""

    device: int | str = Field(description="Number of a USB camera, or URL (rtsp://…, http://…).")
    width: int | None = Field(None, ge=1, description="In pixels, where the camera can choose.")
    height: int | None = Field(None, ge=1, description="Likewise.")
    exposure: float | None = Field(None, description="In the unit of the camera's driver.")
    interval_ms: float = Field(0, ge=0, description="Least time between two pictures.")
    timeout_seconds: float = Field(
        5.0, gt=0, description="Without a picture for so long, the camera is opened anew."
    )


class CameraSource(Source):
    """A camera by OpenCV (USB, RTSP): the newest picture, opened anew where it is unplugged."""

    Settings = CameraSettings

    def __init__(self, settings: CameraSettings, station: str, recorded: Recorded) -> None:
        super().__init__(settings, station, recorded)
        self._cv2 = opencv()
        self._newest = Newest()
        self._is_connected = False
        self._reconnects = 0
        # The password of a camera has no place in records.
        self._name = re.sub(r"//[^/@]*@", "//", str(settings.device))
        self._run = secrets.token_hex(4)

    def frames(self, stop: Event) -> Iterator[Frame]:
        """The newest picture each time the line is ready for one."""
        reader = threading.Thread(target=self._read, args=(stop,), name="camera", daemon=True)
        reader.start()
        last = -1e9
        for taken in self._newest.pictures(stop):
            wait = last + self.settings.interval_ms / 1000 - monotonic()
            if wait > 0:
                stop.wait(wait)
                continue
            last = monotonic()
            started = taken.time.strftime("%Y%m%dT%H%M%S.%f")
            yield Frame(
                taken.pixels,
                f"{started}-{taken.number}",
                identity=f"{started}-{self._run}-{taken.number}",
                station=self.station,
                time=taken.time,
                arrived=taken.arrived,
                source=self._name,
                metadata={**taken.metadata, "number": taken.number, "missed": taken.missed},
            )

    def can_come_again(self, identity: str) -> bool:
        """Never: each picture has a new identity."""
        return False

    def status(self) -> dict[str, Any]:
        """Whether the camera is there, and how many pictures nobody looked at."""
        return {
            "connected": self._is_connected,
            "reconnects": self._reconnects,
            "missed": self._newest.dropped,
        }

    def _read(self, stop: Event) -> None:
        wait = 0.5
        while not stop.is_set():
            capture = self._open()
            if capture is not None:
                if self._read_from(capture, stop):
                    wait = 0.5
                capture.release()
            if self._is_connected or not self._reconnects:
                log.warning(
                    "%s: the camera %s is not there: trying again",
                    self.station,
                    printable(self._name),
                )
            self._is_connected = False
            stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            self._reconnects += 1

    def _open(self) -> Any | None:
        cv2, settings = self._cv2, self.settings
        milliseconds = int(1000 * settings.timeout_seconds)
        try:
            if isinstance(settings.device, str):
                limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds]
                limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
                capture = cv2.VideoCapture(settings.device, cv2.CAP_ANY, limits)
            else:
                capture = cv2.VideoCapture(settings.device)
        except Exception as error:  # a driver's own, of any kind: the next try may do
            log.warning("%s: %s: %s", self.station, printable(self._name), printable(error))
            return None
        if not capture.isOpened():
            capture.release()
            return None
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, settings.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, settings.height),
            (cv2.CAP_PROP_EXPOSURE, settings.exposure),
        ):
            if value is not None:
                capture.set(name, value)
        return capture

    def _read_from(self, capture: Any, stop: Event) -> bool:
        """Read until the camera is away; whether there was a picture at all."""
        had_any = False
        last = monotonic()
        while not stop.is_set():
            is_there, picture = capture.read()
            if is_there and picture is not None:
                if not self._is_connected:
                    log.info("%s: the camera %s is there", self.station, printable(self._name))
                self._is_connected = had_any = True
                last = monotonic()
                self._newest.put(from_opencv(picture))
            elif isinstance(self.settings.device, str):
                return had_any  # a stream that ended does not come back
            elif monotonic() - last > self.settings.timeout_seconds:
                return had_any
            else:
                stop.wait(0.01)
        return had_any

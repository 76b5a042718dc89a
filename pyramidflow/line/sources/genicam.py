"""An industrial camera by GenICam (GigE Vision, USB3 Vision), with the vendor's producer file.

Tested against a stand-in of the interface of ``harvesters``, not against a camera.
"""

import logging
import secrets
from collections.abc import Generator, Iterator, Mapping
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any, Final

import numpy as np
from pydantic import Field

from pyramidflow.data import Pixels
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.frame import Frame
from pyramidflow.line.sources.opencv import from_opencv, opencv
from pyramidflow.line.sources.source import Recorded, Source, SourceSettings

log = logging.getLogger(__name__)

_LONGEST_WAIT: Final = 30.0
"""Seconds between two tries to reach a camera."""

_BITS: Final = {"8": 8, "10": 10, "12": 12, "14": 14, "16": 16}


class GenicamSettings(SourceSettings):
    """Which camera, and how its trigger names a part."""

    producer: Path = Field(description="The vendor's GenTL producer file (.cti).")
    serial: str | None = Field(None, description="Serial number; without one the first camera.")
    features: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Features to set, such as TriggerMode = 'On' or ExposureTime = 800.0.",
    )
    chunks: tuple[str, ...] = Field(
        (), description="Chunk data to keep as metadata, such as ChunkCounterValue."
    )
    identity_chunk: str | None = Field(
        None,
        description="Chunk data that is the part's identity: a code, or a counter that never "
        "starts anew. A part whose identity has a record is passed over.",
    )
    timeout_seconds: float = Field(1.0, gt=0, description="How long one look for a picture takes.")


class GenicamSource(Source):
    """A GenICam camera by harvesters; each triggered picture is a part of its own."""

    Settings = GenicamSettings

    def __init__(self, settings: GenicamSettings, station: str, recorded: Recorded) -> None:
        super().__init__(settings, station, recorded)
        need("harvesters", "genicam", "the source genicam")
        from harvesters.core import Harvester

        self._harvester = Harvester()
        self._is_connected = False
        self._incomplete = 0
        self._run = secrets.token_hex(4)
        self._numbers = count()  # the camera's own start anew
        try:
            self._harvester.add_file(str(settings.producer), check_existence=True)
        except Exception as error:
            raise InputError(
                f"source.producer is {settings.producer}: a GenTL producer file that can be loaded "
                f"is expected ({error})."
            ) from error

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Every picture of the camera, which is opened anew where it was away."""
        wait = 0.5
        while not stop.is_set():
            had_any = yield from self._frames_of_one_opening(stop)
            if had_any:
                wait = 0.5
            stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _frames_of_one_opening(self, stop: Event) -> Generator[Frame, None, bool]:
        """Frames until the camera is away; returns whether there was a picture at all."""
        try:
            acquirer = self._open()
        except Exception as error:  # the vendor's own, of any kind: the next try may do
            log.warning("%s: no camera (%s)", self.station, printable(error))
            return False
        try:
            return (yield from self._frames_of(acquirer, stop))
        finally:
            self._is_connected = False
            _let_go(acquirer)

    def can_come_again(self, identity: str) -> bool:
        """Where the camera's chunk data say the identity; otherwise each picture has a new one."""
        return self.settings.identity_chunk is not None

    def status(self) -> dict[str, Any]:
        """Whether the camera is there, and how many pictures came incomplete."""
        return {"connected": self._is_connected, "incomplete": self._incomplete}

    def close(self) -> None:
        """Let go of the producer."""
        _quietly(self._harvester.reset)

    def _open(self) -> Any:
        self._harvester.update()
        wanted = self.settings.serial
        acquirer = self._harvester.create({"serial_number": wanted} if wanted else None)
        try:
            nodes = acquirer.remote_device.node_map
            for name, value in self.settings.features.items():
                getattr(nodes, name).value = value
            acquirer.start()
        except BaseException:  # while it is held, nobody can open it
            _let_go(acquirer)
            raise
        self._is_connected = True
        log.info("%s: the camera %s is there", self.station, wanted or "found first")
        return acquirer

    def _frames_of(self, acquirer: Any, stop: Event) -> Generator[Frame, None, bool]:
        from harvesters.core import TimeoutException

        nodes = acquirer.remote_device.node_map
        had_any = False
        while not stop.is_set():
            try:
                with acquirer.fetch(timeout=self.settings.timeout_seconds) as buffer:
                    frame = self._frame(buffer, nodes)
            except TimeoutException:
                continue
            except InputError:  # a format that no further picture will have changed
                raise
            except Exception as error:
                log.warning("%s: the camera is away (%s)", self.station, printable(error))
                return had_any
            had_any = True
            if frame is None:
                self._incomplete += 1
            else:
                yield frame
        return had_any

    def _frame(self, buffer: Any, nodes: Any) -> Frame | None:
        metadata: dict[str, Any] = {
            "frame": int(buffer.frame_id),
            "timestamp": int(buffer.timestamp),
        }
        names = {*self.settings.chunks, self.settings.identity_chunk} - {None}
        metadata |= {str(name): getattr(nodes, str(name)).value for name in sorted(map(str, names))}
        chunk, number = self.settings.identity_chunk, next(self._numbers)
        identity = str(metadata[chunk]) if chunk else f"{self._run}-{number}"
        if not buffer.payload.components:
            return None
        return Frame(
            pixels_of_component(buffer.payload.components[0]),
            identity,
            identity=identity,
            station=self.station,
            source=f"genicam:{self.settings.serial or ''}",
            metadata=metadata,
        )


def pixels_of_component(component: Any) -> Pixels:
    """Pixels of a GenICam picture, copied out of the camera's buffer.

    ``Mono8`` to ``Mono16``, ``RGB8``, ``BGR8`` and the Bayer patterns of 8 to 16 bits; 10 to 14
    bits are scaled to 16.

    Args:
        component: with ``width``, ``height``, ``data_format`` and ``data``.

    Raises:
        InputError: another format.
    """
    name = str(component.data_format)
    height, width = int(component.height), int(component.width)
    if name in ("RGB8", "BGR8"):
        coloured = np.array(component.data, np.uint8).reshape(height, width, 3)
        return coloured if name == "RGB8" else from_opencv(coloured)
    family = name.rstrip("0123456789")
    bits = _BITS.get(name.removeprefix(family))
    if bits is None or family not in ("Mono", *_BAYER):
        raise InputError(
            f"the camera's pixel format is {name}: Mono8 to Mono16, RGB8, BGR8 or Bayer, unpacked, "
            "is expected; set PixelFormat in source.features."
        )
    kind = np.uint8 if bits == 8 else np.uint16
    picture = np.array(component.data, kind).reshape(height, width)
    if 8 < bits < 16:
        picture = _to_16_bits(picture, bits)
    if family == "Mono":
        return picture
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(picture, getattr(cv2, _BAYER[family])))


# OpenCV names a pattern by the second row's pixels: GenICam's RG is its BG.
_BAYER: Final[Mapping[str, str]] = {
    "BayerRG": "COLOR_BayerBG2RGB",
    "BayerGR": "COLOR_BayerGB2RGB",
    "BayerGB": "COLOR_BayerGR2RGB",
    "BayerBG": "COLOR_BayerRG2RGB",
}


def _to_16_bits(picture: Pixels, bits: int) -> Pixels:
    white = (1 << bits) - 1
    scaled = (picture.astype(np.uint32) * 65535 + white // 2) // white
    return scaled.astype(np.uint16)


def _let_go(acquirer: Any) -> None:
    _quietly(acquirer.stop)
    _quietly(acquirer.destroy)


def _quietly(call: Any) -> None:
    try:
        call()
    except Exception as error:  # a camera that is gone cannot be closed
        log.debug("closing a camera: %s", error)

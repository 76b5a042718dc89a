"""Pictures that are kept of a part: its overlay, its map, the picture itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pyramidflow.data import Pixels, to_uint8
from pyramidflow.detector import Inspection
from pyramidflow.detector.overlay import Marks, overlay
from pyramidflow.io.pictures import float_tiff, png
from pyramidflow.line.frame import Frame

KINDS: Final = ("overlay", "map", "image")


@dataclass
class Drawn:
    """Encoded pictures of a part.

    Attributes:
        pictures: by kind.
        failed: the kind that could not be made; those behind it were not tried.
        error: why.
    """

    pictures: dict[str, bytes] = field(default_factory=dict)
    failed: str | None = None
    error: Exception | None = None


def draw(
    kinds: Iterable[str], frame: Frame, pixels: Pixels, inspection: Inspection, scale: float
) -> Drawn:
    """Draw and encode pictures.

    Args:
        kinds: ``"overlay"`` (PNG), ``"map"`` (float32 TIFF), ``"image"`` (the file as it is, or a
            PNG of pixels).
        frame: the frame.
        pixels: ``[H, W, 3]``, uint8 or uint16.
        inspection: what was found.
        scale: anomaly value at the top of the overlay's colours.
    """
    drawn = Drawn()
    for kind in kinds:
        try:
            drawn.pictures[kind] = _encoded(kind, frame, pixels, inspection, scale)
        except Exception as error:  # whatever it is, the verdict matters more than its pictures
            drawn.failed, drawn.error = kind, error
            break
    return drawn


def _encoded(
    kind: str, frame: Frame, pixels: Pixels, inspection: Inspection, scale: float
) -> bytes:
    if kind == "map":
        return float_tiff(inspection.anomaly_map)
    if kind == "image":
        return _image(frame, pixels)
    return png(overlay(to_uint8(pixels), inspection.anomaly_map, scale, Marks.of(inspection)))


def _image(frame: Frame, pixels: Pixels) -> bytes:
    if isinstance(frame.payload, bytes):
        return frame.payload
    if frame.path is not None:
        return frame.path.read_bytes()
    return png(to_uint8(pixels))

"""The picture an operator looks at: the part, with its anomaly map, contours and boxes on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pyramidflow.detector.counted_area import Mask, stretched
from pyramidflow.detector.findings import Box, Inspection
from pyramidflow.errors import InputError

_COLOUR_MAP: Final = "inferno"
_COLOUR_MAP_START: Final = 0.3
_STRONGEST_OPACITY: Final = 0.85
_CONTOUR_COLOUR: Final = (0, 229, 255)
_BOX_COLOUR: Final = (57, 255, 90)
_INTEREST_COLOUR: Final = (255, 255, 255)
_DARKENED: Final = 0.6
_PIXELS_PER_LINE_WIDTH: Final = 256
_WIDEST_LINE: Final = 3
_ROWS_AT_ONCE: Final = 64
_LEVELS: Final = 256
_VALUES: Final = 256


@dataclass(frozen=True, eq=False)
class Marks:
    """What is drawn over the heat of an anomaly map.

    Attributes:
        threshold: regions where the map is greater than this are outlined; ``None``: no outline.
        boxes: frames, in pixels; what lies outside the image is cut off.
        counted: ``[h, w]``, of any size, stretched to the image: true where defects count; ``None``
            where they do everywhere.
        outlined: boxes that regions are outlined in; ``None``: everywhere.
    """

    threshold: float | None = None
    boxes: Sequence[Box] = ()
    counted: Mask | None = None
    outlined: Sequence[Box] | None = None

    @classmethod
    def of(cls, inspection: Inspection, step: int = 1) -> "Marks":
        """What was found in a picture, on that picture reduced by ``step``."""
        boxes = [
            (x0 // step, y0 // step, -(-x1 // step), -(-y1 // step))
            for x0, y0, x1, y1 in (region.box for region in inspection.regions)
        ]
        return cls(
            # Without a region nothing is above the threshold, and looking for outlines takes time.
            inspection.pixel_threshold if boxes else None,
            boxes,
            inspection.counted,
            boxes if inspection.has_least_area else None,
        )


NO_MARKS: Final = Marks()


def overlay(
    image: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32],
    scale: float,
    marks: Marks = NO_MARKS,
) -> NDArray[np.uint8]:
    """Draw an anomaly map over its image, on a colour scale that is the same for every image.

    With ``v = clip(map / scale, 0, 1)``: ``out = (1 − a(v)) · image + a(v) · colour(v)``, where the
    opacity ``a(v) = 0.85 · v`` grows from nothing. Where the map is zero the image is untouched,
    but for parts of it that do not count: they are darker, and a line goes around what counts.

    Args:
        image: the picture, uint8 ``[H, W, 3]``, RGB.
        anomaly_map: anomaly of each pixel, float ``[H, W]``; negative values count as zero.
        scale: map value that gets the hottest colour; larger values saturate. Keep one for a model.
        marks: what is drawn over both.

    Returns:
        uint8 ``[H, W, 3]``, a new array.

    Raises:
        InputError: shapes, types or values do not fit together.
    """
    _check(image, anomaly_map, scale, marks.boxes)
    height, width = anomaly_map.shape
    seen = None if marks.counted is None else stretched(marks.counted, (height, width))
    out = np.empty((height, width, 3), np.uint8)
    # In floating point a whole photograph would take more than a gigabyte.
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        _blend(image[rows], anomaly_map[rows] / scale, out[rows])
        if seen is not None:
            _darken(out[rows], ~seen[rows])
    line = min(_WIDEST_LINE, max(1, round(min(height, width) / _PIXELS_PER_LINE_WIDTH)))
    if seen is not None:
        _outline(out, seen, line, _INTEREST_COLOUR)
    if marks.threshold is not None:
        _outline(out, _above(anomaly_map, marks.threshold, marks.outlined), line, _CONTOUR_COLOUR)
    for box in marks.boxes:
        _frame(out, box, line)
    return out


def colour_bar(width: int, height: int) -> NDArray[np.uint8]:
    """Return the colours of :func:`overlay` over mid-grey, from 0 (left) to the scale (right).

    Args:
        width: columns, in pixels.
        height: rows, in pixels.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return overlay(np.full((height, width, 3), 128, np.uint8), ramp, 1.0)


def _blend(image: NDArray[np.uint8], value: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    tables = _heat_tables()
    index = np.rint(np.clip(value, 0, 1) * (_LEVELS - 1)).astype(np.intp)  # [h, W]
    index *= _VALUES
    for channel, table in enumerate(tables):
        out[:, :, channel] = table.take(index + image[:, :, channel], mode="clip")


def _darken(out: NDArray[np.uint8], there: Mask) -> None:
    out[there] = _darkened()[out[there]]


@cache
def _darkened() -> NDArray[np.uint8]:
    """What becomes of each value of a pixel that does not count."""
    darkened: NDArray[np.uint8] = np.rint(_DARKENED * np.arange(_VALUES)).astype(np.uint8)
    return darkened


@cache
def _heat_tables() -> tuple[NDArray[np.uint8], ...]:
    """What becomes of each value of a pixel at each level of the map, by channel: ``[L · 256]``."""
    from matplotlib import colormaps

    level = np.linspace(0, 1, _LEVELS, dtype=np.float32)
    start = _COLOUR_MAP_START
    rgba = np.asarray(colormaps[_COLOUR_MAP](start + (1 - start) * level), dtype=np.float32)
    opacity = (_STRONGEST_OPACITY * level)[:, None]  # [L, 1]
    values = np.arange(_VALUES, dtype=np.uint8)  # [256]
    return tuple(
        np.rint((1 - opacity) * values + opacity * colour[:, None]).astype(np.uint8).ravel()
        for colour in (rgba[:, :3] * 255).T
    )


def _above(anomaly_map: NDArray[np.float32], threshold: float, boxes: Sequence[Box] | None) -> Mask:
    """Where the map is above a threshold, inside of some boxes."""
    above: Mask = anomaly_map > threshold
    if boxes is None:
        return above
    inside = np.zeros_like(above)
    for x0, y0, x1, y1 in boxes:
        inside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    above &= inside
    return above


def _outline(
    out: NDArray[np.uint8], regions: Mask, line: int, colour: tuple[int, int, int]
) -> None:
    from scipy.ndimage import binary_erosion

    edge = binary_erosion(regions, iterations=line, border_value=1)
    np.logical_not(edge, out=edge)
    edge &= regions
    out[edge] = colour


def _frame(out: NDArray[np.uint8], box: Box, line: int) -> None:
    height, width = out.shape[:2]
    x0, y0 = max(box[0], 0), max(box[1], 0)
    x1, y1 = min(box[2], width), min(box[3], height)
    if x0 >= x1 or y0 >= y1:
        return
    frame = np.ones((y1 - y0, x1 - x0), dtype=np.bool_)
    frame[line:-line, line:-line] = False
    out[y0:y1, x0:x1][frame] = _BOX_COLOUR


def _check(
    image: NDArray[np.uint8], anomaly_map: NDArray[np.float32], scale: float, boxes: Sequence[Box]
) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"the image to draw on has shape {list(image.shape)} and type {image.dtype}: "
            "give uint8 [H, W, 3]."
        )
    if anomaly_map.shape != image.shape[:2]:
        raise InputError(
            f"the anomaly map is {list(anomaly_map.shape)} but the image is "
            f"{list(image.shape[:2])}: give a map at the size of the image."
        )
    if not np.isfinite(anomaly_map).all():
        raise InputError("the anomaly map holds values that are not finite: give finite ones.")
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"the colour scale is {scale}: give a finite number greater than 0.")
    for box in boxes:
        if box[0] >= box[2] or box[1] >= box[3]:
            raise InputError(
                f"the box {tuple(box)} is empty: give (x0, y0, x1, y1) with x0 < x1 and y0 < y1."
            )

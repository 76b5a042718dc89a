"""Parts of an image as people write them: rectangles, polygons and mask pictures.

``rect:LEFT,TOP,RIGHT,BOTTOM``, ``polygon:X,Y;X,Y;X,Y``, ``mask:FILE``; numbers are fractions of
width and height, or pixels of the image with ``px`` at the end. Four numbers are a rectangle.
"""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Rectangle = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` as fractions of width and height."""

Areas = Rectangle | tuple[str, ...]
"""One rectangle in fractions, or any areas as texts."""

FRACTIONS = (
    "give left, top, right, bottom as fractions of the image, 0 ≤ left < right ≤ 1 and "
    "0 ≤ top < bottom ≤ 1, or pixels of it with px at the end"
)
SYNTAX = "give rect:LEFT,TOP,RIGHT,BOTTOM, polygon:X,Y;X,Y;X,Y or mask:FILE"
MOST_CORNERS = 10_000
LARGEST_PIXEL = 1e6


@dataclass(frozen=True)
class Polygon:
    """A polygon; of one that crosses itself, what is inside an odd number of times.

    Attributes:
        corners: ``(x, y)`` of each.
        in_pixels: whether they are pixels of the image, or fractions of width and height.
        is_rectangle: whether it is an upright rectangle.
    """

    corners: tuple[tuple[float, float], ...]
    in_pixels: bool
    is_rectangle: bool = False

    @property
    def text(self) -> str:
        """As people write it."""
        unit = "px" if self.in_pixels else ""
        if self.is_rectangle:
            (left, top), _, (right, bottom), _ = self.corners
            return f"rect:{','.join(map(_number, (left, top, right, bottom)))}{unit}"
        corners = (f"{_number(x)},{_number(y)}" for x, y in self.corners)
        return f"polygon:{';'.join(corners)}{unit}"


@dataclass(frozen=True)
class MaskPicture:
    """What a picture shows above 0, stretched to the image.

    Attributes:
        file: its name.
    """

    file: str

    @property
    def text(self) -> str:
        """As people write it."""
        return f"mask:{self.file}"


Area = Polygon | MaskPicture


def areas(value: Any) -> Areas | None:
    """Areas as people give them: four numbers, a text, or a list of texts; none of them is none.

    Raises:
        ValueError: it is none of these.
    """
    if value is None or (isinstance(value, list | tuple) and not value):
        return None
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"a list is expected: {SYNTAX}")
    if not all(isinstance(part, str) for part in value):
        return _sides(value)
    found = tuple(area_of(part) for part in value)
    first = found[0] if len(found) == 1 else None
    if isinstance(first, Polygon) and first.is_rectangle and not first.in_pixels:
        (left, top), _, (right, bottom), _ = first.corners
        return left, top, right, bottom
    return tuple(area.text for area in found)


def areas_text(value: Areas | None) -> str:
    """Areas as :func:`areas` reads them."""
    return " ".join(area.text for area in listed(value))


def listed(value: Areas | None) -> tuple[Area, ...]:
    """The single areas."""
    if value is None:
        return ()
    texts = [part for part in value if isinstance(part, str)]
    if texts:
        return tuple(area_of(text) for text in texts)
    left, top, right, bottom = (float(part) for part in value)
    return (_rectangle((left, top, right, bottom), in_pixels=False),)


def area_of(text: str) -> Area:
    """One area.

    Raises:
        ValueError: it is not written as one.
    """
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        kind, rest = "rect", kind
    if kind == "mask":
        if not rest or not rest.isprintable():
            raise ValueError("behind mask: the name of a picture's file is expected")
        return MaskPicture(rest)
    if kind not in ("rect", "polygon"):
        raise ValueError(SYNTAX)
    in_pixels = rest.endswith("px")
    rest = rest.removesuffix("px")
    if kind == "rect":
        sides = [_parsed(part) for part in rest.split(",")]
        if len(sides) != 4:
            raise ValueError("4 values are expected, left, top, right, bottom")
        return _rectangle((sides[0], sides[1], sides[2], sides[3]), in_pixels)
    corners = []
    for corner in rest.strip(";").split(";"):
        ends = [_parsed(part) for part in corner.split(",")]
        if len(ends) != 2 or not all(0 <= end <= _most(in_pixels) for end in ends):
            raise ValueError(
                "a corner is X,Y as fractions of width and height from 0 to 1, or in pixels of the "
                "image with px at the end of the polygon"
            )
        corners.append((ends[0], ends[1]))
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"a polygon has 3 to {MOST_CORNERS} corners, X,Y;X,Y;X,Y")
    return Polygon(tuple(corners), in_pixels)


def _sides(value: Sequence[Any]) -> Rectangle:
    if len(value) != 4:
        raise ValueError("4 values are expected, left, top, right, bottom")
    if not all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in value):
        raise ValueError(f"numbers are expected: {FRACTIONS}")
    try:
        sides = (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
    except OverflowError as error:
        raise ValueError(FRACTIONS) from error
    _rectangle(sides, in_pixels=False)
    return sides


def _rectangle(sides: Rectangle, in_pixels: bool) -> Polygon:
    left, top, right, bottom = sides
    most = _most(in_pixels)
    if not (0 <= left < right <= most and 0 <= top < bottom <= most):
        raise ValueError(FRACTIONS)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Polygon(corners, in_pixels, is_rectangle=True)


def _most(in_pixels: bool) -> float:
    return LARGEST_PIXEL if in_pixels else 1.0


def _parsed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"numbers are expected: {SYNTAX}")
    return value


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")

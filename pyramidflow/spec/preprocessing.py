"""Settings of the way from an image to network input."""

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pyramidflow.errors import InputError
from pyramidflow.model.encoder import IMAGENET_MEAN, IMAGENET_STD
from pyramidflow.validated import Validated, setting

ImageSize = tuple[int, int]
"""Height and width in pixels."""

AUTO = "auto"

LARGEST_SIDE = 65536


def image_size(value: Any) -> "ImageSize | Literal['auto']":
    """A size as people write it: ``256``, ``(640, 256)``, ``"640x256"`` or ``"auto"``.

    Raises:
        ValueError: it is none of these.
    """
    if value == AUTO:
        return "auto"
    if isinstance(value, str):
        value = value.lower().replace("×", "x").split("x")
        if not all(side.strip().isdecimal() and len(side) < 10 for side in value):
            raise ValueError(_SIZES)
        value = [int(side) for side in value]
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if len(sides) not in (1, 2) or not all(map(_is_side, sides)):
        raise ValueError(_SIZES)
    return int(sides[0]), int(sides[-1])


def _is_side(value: Any) -> bool:
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and 1 <= int(value) <= LARGEST_SIDE
    )


def size_text(value: Any) -> str:
    """A size as ``640x256``; a square as its side."""
    if isinstance(value, str):
        return value
    height, width = value
    return str(height) if height == width else f"{height}x{width}"


_SIZES = (
    f"give a side from 1 to {LARGEST_SIDE}, HEIGHTxWIDTH such as 640x256, or {AUTO} for the aspect "
    "of the training images"
)


def brightness(value: Any) -> "float | Literal['auto'] | None":
    """A mean grey value as people write it: ``100``, ``"100"``, ``"auto"``; ``None``, ``"none"``.

    Raises:
        ValueError: it is none of these.
    """
    if value is None or value == NO_BRIGHTNESS:
        return None
    if value == AUTO:
        return "auto"
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(_BRIGHTNESS) from None
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= WHITE:
        raise ValueError(_BRIGHTNESS)
    return float(value)


def brightness_text(value: Any) -> str:
    """A brightness as :func:`brightness` reads it."""
    if value is None:
        return NO_BRIGHTNESS
    return value if isinstance(value, str) else f"{value:g}"


NO_BRIGHTNESS = "none"

WHITE = 255

_BRIGHTNESS = f"give a mean grey value from 1 to {WHITE}, or {AUTO} for that of the training images"


_Value = TypeVar("_Value")


def _settled(value: _Value | str, problem: str) -> _Value:
    """A setting that a training takes from the images, once it did."""
    if isinstance(value, str):
        raise InputError(problem)
    return value


@dataclass(frozen=True)
class Preprocessing(Validated):
    """How images become network input; part of every detector file.

    Attributes:
        image_size: height and width that images are resized to, in pixels; ``"auto"``, before a
            training, has the aspect of the training images, and the pixels of the default square.
        smallest_defect: size in pixels of the images of what should still be found; a training
            warns where less than two pixels are left of it.
        mean: per channel, of images scaled to [0, 1].
        std: per channel, of images scaled to [0, 1].
        brightness: mean of all values, of 255, that each image is brought to by a factor;
            ``"auto"``, before a training, takes that of the training images; ``None`` leaves images
            as they are.
        white_level: value that stands for white in images of 16 bits; ``None`` is the file's own,
            65535.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "preprocessing settings"

    image_size: ImageSize | Literal["auto"] = setting(
        (256, 256),
        "Size that images are resized to, in pixels: the side of a square, HEIGHTxWIDTH, or auto "
        "for the aspect of the training images.",
        shown_default="256, with an encoder its own",
        convert=image_size,
        text=size_text,
    )
    smallest_defect: float | None = setting(
        None,
        "Smallest defect that should be found, in pixels of the images; a training warns where "
        "the image size makes it too small.",
        above=0,
    )
    mean: tuple[float, float, float] = setting(IMAGENET_MEAN, on_command_line=False)
    std: tuple[float, float, float] = setting(IMAGENET_STD, above=0, on_command_line=False)
    brightness: float | Literal["auto"] | None = setting(
        None,
        "Mean grey value, 1 to 255, that each image is brought to by a factor, for exposures that "
        "differ from part to part; auto takes that of the training images.",
        shown_default="images stay as they are",
        convert=brightness,
        text=brightness_text,
    )
    white_level: int | None = setting(
        None,
        "Value that stands for white in images of 16 bits: 4095 for a camera of 12 bits.",
        least=256,
        most=65535,
        shown_default="65535",
    )

    @property
    def size(self) -> ImageSize:
        """Height and width that images are resized to.

        Raises:
            InputError: it is ``"auto"`` and no training has chosen it yet.
        """
        return _settled(
            self.image_size,
            "image_size is 'auto': a training chooses the size; call fit, or give a size.",
        )

    @property
    def mean_level(self) -> float | None:
        """Mean of all values that each image is brought to; ``None`` leaves images as they are.

        Raises:
            InputError: it is ``"auto"`` and no training has measured it yet.
        """
        return _settled(
            self.brightness,
            "brightness is 'auto': a training measures it; call fit, or give a number.",
        )

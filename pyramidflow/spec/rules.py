"""Settings of what follows the network: how latents are compared, and how a map is judged."""

import numbers
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.spec.areas import Areas, MaskPicture, Polygon, areas, areas_text, listed
from pyramidflow.validated import Validated, setting
from pyramidflow.variants import Fusion, TemplatesBy


@dataclass(frozen=True)
class ContrastRule(Validated):
    """How the latents of an image are compared with those of the training images.

    Attributes:
        spread: what a contrast is divided by: nothing, the standard deviation of the training
            latents of its channel, or that at its pixel; ``"auto"`` becomes ``"pixel"``, without
            position ``"channel"``, and with a codebook ``"none"``.
        light: whether each channel's mean over the image is taken off before.
        robust: share of the training images that template and spread leave out, those that differ
            most from the others.
        position: whether there is a mean for each pixel, or one of each channel for all of them.
        templates: groups of training images that have a template each; an image is compared with
            the nearest one.
        templates_by: whether the nearest is looked for at each pixel, or for the whole image.
        tolerance: pixels of each pyramid level that a template may lie aside of the part.
        codebook: share of the training images' positions that an image is compared with in place
            of a template, those that lie all over the others; 0 compares with the template.
        codebook_entries: of the codebook, at most.
        beside_template: the codebook stands beside the template, not in place of it.
        fusion: whether the levels of the pyramid become one map by their sum, as published, or by
            the geometric mean of that and of their product; ``"auto"`` becomes ``"product"`` where
            one template is compared with and its spread is known, and ``"sum"`` elsewhere.

    Raises:
        InputError: a setting is out of its range, or contradicts another one.
    """

    group: ClassVar[str] = "contrast settings"

    spread: Literal["auto", "none", "channel", "pixel"] = setting(
        "auto",
        "Divide what differs by how much good images differ there: in the channel (for parts that "
        "lie anyhow), or at each pixel.",
        shown_default="pixel; channel with position none; none with a codebook",
        implied=("auto",),
    )
    light: bool = setting(True, "Take the change of light of a whole image off.")
    robust: float = setting(
        0.0,
        "Share of the training images that may be bad: those that differ most from the others "
        "are left out of what is normal, and listed.",
        least=0,
        most=0.4,
    )
    position: Literal["pixel", "none"] = setting(
        "pixel",
        "Compare each pixel with the mean of the good images there, or everywhere with one mean of "
        "each channel (for even textures).",
    )
    templates: int = setting(
        1,
        "Groups of good images that are compared with apart: a part is as far off as from the "
        "nearest group (for variants of a part under one name).",
        least=1,
        most=64,
    )
    templates_by: TemplatesBy = setting(
        "pixel", "Where the nearest of several templates is looked for: at each pixel, or once."
    )
    tolerance: int = setting(
        0,
        "Pixels of each pyramid level by which parts may lie aside: the nearest pixel of the "
        "template so far around counts. Time grows with the square.",
        least=0,
        most=3,
    )
    codebook: float = setting(
        0.0,
        "Share of the training images' positions that each position of an image is compared with, "
        "wherever they lie (for parts that lie anyhow); 0 compares with the template.",
        least=0,
        most=1,
    )
    codebook_entries: int = setting(
        5_000,
        "Positions that a codebook holds at most: time grows with them.",
        least=1,
        most=2**24,
    )
    beside_template: bool = setting(
        False,
        "Compare with the template beside the codebook, and take the geometric mean of both maps.",
    )
    fusion: Fusion = setting(
        "sum",
        "How the levels of the pyramid become one map: by their sum, or by what all of them agree "
        "on (with an encoder, less of what surrounds a defect is marked; without one it costs).",
        shown_default="sum; with efficientnet-lite0, one template and its spread, product",
        implied=("auto",),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread == "auto":
            following = "channel" if self.position == "none" else "pixel"
            object.__setattr__(self, "spread", "none" if self.is_codebook_alone else following)
        if self.fusion == "auto":
            agrees = self.has_one_template and self.spread != "none"
            object.__setattr__(self, "fusion", "product" if agrees else "sum")
        if self.beside_template and self.codebook == 0:
            raise InputError(
                "beside_template is true and codebook 0: nothing stands beside the template; give "
                "the codebook a share, such as 1."
            )
        if self.is_codebook_alone and self.spread != "none":
            raise InputError(
                f"codebook is {self.codebook} and spread {self.spread}: a codebook compares with "
                "entries, of which there is no spread; leave one of them out, or set "
                "beside_template."
            )
        if self.is_codebook_alone and not (self.templates == 1 and self.is_at_pixels):
            raise InputError(
                f"codebook is {self.codebook}, templates {self.templates}, tolerance "
                f"{self.tolerance} and position {self.position}: a codebook stands in place of "
                "templates, wherever they lie; leave it or them out, or set beside_template."
            )
        if self.fusion == "product" and (self.is_codebook_alone or self._has_nearest_template):
            raise InputError(
                f"fusion is product, codebook {self.codebook}, templates {self.templates} and "
                f"tolerance {self.tolerance}: levels agree on the difference from one template; "
                "leave fusion or the others out."
            )
        if self.position == "none" and self.tolerance > 0:
            raise InputError(
                f"position is none and tolerance {self.tolerance}: without positions nothing lies "
                "aside; leave one of them out."
            )
        if self.position == "none" and self.spread == "pixel":
            raise InputError(
                "position is none and spread pixel: without positions there is no spread of each; "
                "use the spread of the channel."
            )

    @property
    def is_plain(self) -> bool:
        """Whether latents are compared with their template alone, of whichever images."""
        return replace(self, robust=0.0) == PLAIN_CONTRAST

    @property
    def is_codebook_alone(self) -> bool:
        """Whether no template is compared with."""
        return self.codebook > 0 and not self.beside_template

    @property
    def _has_nearest_template(self) -> bool:
        return self.templates > 1 or self.tolerance > 0

    @property
    def is_at_pixels(self) -> bool:
        """Whether a pixel is compared with what is normal at that pixel alone."""
        return self.position == "pixel" and self.tolerance == 0

    @property
    def has_one_template(self) -> bool:
        """Whether there is one mean for each pixel, and nothing in place of it."""
        return self.codebook == 0 and self.templates == 1 and self.is_at_pixels

    @property
    def text(self) -> str:
        """The settings that are not the default, for sentences."""
        plain = PLAIN_CONTRAST.as_dict()
        given = (
            f"{name} {value}" for name, value in self.as_dict().items() if value != plain[name]
        )
        return ", ".join(given)


DEFAULT_CONTRAST = ContrastRule()
"""What finds most on real parts, see ``benchmarks/results/quality_*.md``."""

PLAIN_CONTRAST = ContrastRule(spread="none", light=False)
"""With the template alone, as published."""

RegionOfInterest = Areas
"""Where defects count: a rectangle in fractions of the image, or areas as texts."""

SQUARE_MILLIMETRES = "mm2"


def minimum_area(value: Any) -> float | str:
    """An area as people write it: ``20`` or ``"20px"`` in pixels, ``"0.5mm2"`` or ``"0.5mm²"``.

    Raises:
        ValueError: it is none of these.
    """
    unit = ""
    if isinstance(value, str):
        text = value.strip().lower().replace("²", "2").replace(" ", "")
        unit = SQUARE_MILLIMETRES if text.endswith(SQUARE_MILLIMETRES) else ""
        value = text.removesuffix(SQUARE_MILLIMETRES).removesuffix("px")
    elif not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(_MINIMUM_AREA)
    try:
        area = float(value)
    except (ValueError, OverflowError):
        raise ValueError(_MINIMUM_AREA) from None
    if not 0 <= area <= LARGEST_AREA:
        raise ValueError(_MINIMUM_AREA)
    return f"{area!r}{unit}" if unit else area


LARGEST_AREA = 1e12

_MINIMUM_AREA = "give pixels of the image such as 20, or square millimetres such as 0.5mm2"


@dataclass(frozen=True)
class VerdictRule(Validated):
    """Where on an image defects count, how large they are, and what is done to the map before.

    Attributes:
        region_of_interest: where defects count: ``(left, top, right, bottom)`` as fractions of
            width and height, or areas as :mod:`pyramidflow.spec.areas` reads them, all together;
            the anomaly map is zero outside. ``None`` is the whole image.
        exclude: areas that do not count, likewise, whatever the region of interest says.
        smoothing: standard deviation of a Gaussian on the anomaly map, in the map's pixels.
        minimum_area: of a region that can make a part ``"ng"``, in pixels of the image, or as a
            text in square millimetres.
        scale: millimetres per pixel of the image; ``None`` where it is not known.

    Raises:
        InputError: a setting is out of its range, or an area is in millimetres without a scale.
    """

    group: ClassVar[str] = "verdict settings"

    region_of_interest: Areas | None = setting(
        None,
        "Where defects count; those outside are ignored. rect:LEFT,TOP,RIGHT,BOTTOM, "
        "polygon:X,Y;X,Y;X,Y (fractions of the image, or pixels with px at the end) or mask:FILE "
        "(a picture, above 0 where defects count); give it several times for several areas.",
        shown_default="the whole image",
        convert=areas,
        text=areas_text,
        is_several=True,
    )
    exclude: Areas | None = setting(
        None,
        "Where defects do not count, as the region of interest; it wins over that.",
        shown_default="nothing",
        convert=areas,
        text=areas_text,
        is_several=True,
    )
    smoothing: float = setting(
        0.0,
        "Standard deviation of a Gaussian on the anomaly map, in the map's pixels.",
        least=0,
        most=64,
    )
    minimum_area: float | str = setting(
        0.0,
        "Smallest region that can make a part ng: in pixels of the image such as 20, or with a "
        "scale in square millimetres such as 0.5mm2. The score is then the largest value that a "
        "region of this area lies at or above.",
        convert=minimum_area,
    )
    scale: float | None = setting(
        None,
        "Millimetres per pixel of the image; areas are then given in square millimetres, too.",
        above=0,
        most=1e6,
        shown_default="not known",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.minimum_area, str) and self.scale is None:
            raise InputError(
                f"minimum_area is {self.minimum_area} and there is no scale: give scale, the "
                "millimetres per pixel of the image, or an area in pixels."
            )

    @property
    def least_area(self) -> float:
        """The minimum area in pixels of the image."""
        if isinstance(self.minimum_area, str):
            area = float(self.minimum_area.removesuffix(SQUARE_MILLIMETRES))
            return area / (self.scale or 1.0) ** 2
        return self.minimum_area

    @property
    def masks(self) -> tuple[str, ...]:
        """Files of the mask pictures, each once."""
        found = (*listed(self.region_of_interest), *listed(self.exclude))
        return tuple(dict.fromkeys(a.file for a in found if isinstance(a, MaskPicture)))

    @property
    def has_pixel_areas(self) -> bool:
        """Whether areas are in pixels, so that they depend on the image's size."""
        found = (*listed(self.region_of_interest), *listed(self.exclude))
        return any(isinstance(area, Polygon) and area.in_pixels for area in found)

    @property
    def depends_on_size(self) -> bool:
        """Whether an image's score depends on its size in pixels."""
        return self.least_area > 0 or self.has_pixel_areas

    def holds_a_pixel(self, size: tuple[int, int]) -> bool:
        """Whether a rectangle in fractions holds a pixel's centre of a map of ``(h, w)``.

        Of other areas it is seen where the map is made.
        """
        region = listed(self.region_of_interest)
        if len(region) != 1 or not isinstance(region[0], Polygon) or not region[0].is_rectangle:
            return True
        if region[0].in_pixels:
            return True
        (left, top), _, (right, bottom), _ = region[0].corners
        sides = ((top, bottom, size[0]), (left, right, size[1]))
        return all(any(a <= (i + 0.5) / n < b for i in range(n)) for a, b, n in sides)


PLAIN_VERDICT = VerdictRule()
"""Of the whole map as it is."""

"""What a detector finds in an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pyramidflow.detector.verdict import Verdict

Map = npt.NDArray[np.float32]

Box = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in pixels, half-open: column ``x1`` and row ``y1`` are outside."""


@dataclass(frozen=True)
class Region:
    """A connected part of the anomaly map above the threshold, in pixels of the image.

    Attributes:
        box: around it.
        area: in pixels.
        peak: largest value of the anomaly map inside.
        peak_at: ``(x, y)`` of that value.
        area_mm2: the area in square millimetres; ``None`` where no scale is known.
    """

    box: Box
    area: int
    peak: float
    peak_at: tuple[int, int]
    area_mm2: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The region as a JSON object."""
        found: dict[str, Any] = {
            "box": list(self.box),
            "area": self.area,
            "peak": self.peak,
            "peak_at": list(self.peak_at),
        }
        return found if self.area_mm2 is None else found | {"area_mm2": self.area_mm2}


@dataclass(frozen=True)
class PartPose:
    """How a part lies in its image, against the detector's reference.

    Attributes:
        shift: to the right and down, in pixels of the image.
        angle: clockwise, in degrees.
        agreement: correlation with the reference there.
        is_found: whether that is enough; if not, the part was inspected as it lies.
    """

    shift: tuple[float, float]
    angle: float
    agreement: float
    is_found: bool

    def as_dict(self) -> dict[str, Any]:
        """The pose as a JSON object."""
        return {
            "shift": [round(length, 3) for length in self.shift],
            "angle": round(self.angle, 3),
            "agreement": round(self.agreement, 4),
            "found": self.is_found,
        }


@dataclass(frozen=True)
class StageTimes:
    """How long the parts of an inspection took, in milliseconds.

    Attributes:
        resizing: of the picture to the size that the network works at.
        aligning: search for the part's pose, and the picture brought from it to the reference's.
        inspecting: network, map and regions; an image of a batch has its share.
    """

    resizing: float = 0.0
    aligning: float = 0.0
    inspecting: float = 0.0

    def with_more(self, inspecting: float) -> "StageTimes":
        """These, and further milliseconds of inspecting."""
        return replace(self, inspecting=self.inspecting + inspecting)


@dataclass(frozen=True)
class Inspection:
    """What a detector finds in one image.

    Attributes:
        score: maximum of the anomaly map; with a minimum area the largest value that connected
            pixels of that area lie at or above, see :func:`pyramidflow.detector.area.area_score`.
        threshold: largest score that is not ``"ng"``; ``None`` before calibration.
        verdict: ``"ok"``, ``"ng"``, or ``"review"`` where the score lies above the review threshold
            or the part has no pose; ``None`` before calibration.
        regions: where the map exceeds the pixel threshold, highest peak first; never empty for
            ``"ng"``, unless a pixel threshold above the threshold was chosen.
        anomaly_map: float32 ``[H, W]`` in the image's own resolution. It is the network's map,
            resized; the pixel at the score and those at the regions' peaks keep their values, which
            the resizing alone would smooth away.
        times: how long it took.
        pose: of the part; ``None`` where the detector does not align.
        review_threshold: largest score that is ``"ok"``; ``None`` where none is for review.
        pixel_threshold: the map's value above which pixels belong to a region; ``None`` before
            calibration.
        counted: ``[h, w]`` of the network's map as the image lies, true where defects count;
            ``None`` where they do everywhere.
        has_least_area: whether regions below a minimum area are left out.
    """

    score: float
    threshold: float | None
    verdict: Verdict | None
    regions: tuple[Region, ...]
    anomaly_map: Map
    times: StageTimes = field(default=StageTimes(), compare=False)
    pose: PartPose | None = None
    review_threshold: float | None = None
    pixel_threshold: float | None = None
    counted: npt.NDArray[np.bool_] | None = field(default=None, compare=False)
    has_least_area: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Score, thresholds, verdict, regions and, where there is one, pose as a JSON object."""
        pose = {} if self.pose is None else {"pose": self.pose.as_dict()}
        return {
            "score": self.score,
            "threshold": self.threshold,
            "review_threshold": self.review_threshold,
            "pixel_threshold": self.pixel_threshold,
            "verdict": self.verdict,
            "regions": [region.as_dict() for region in self.regions],
            **pose,
        }


def find_regions(
    anomaly_map: Map,
    threshold: float,
    image_size: tuple[int, int],
    pixels: int = 1,
    scale: float | None = None,
) -> tuple[Region, ...]:
    """Connected parts (8-neighbourhood) of an anomaly map above a threshold.

    Args:
        anomaly_map: ``[h, w]``.
        threshold: values above it belong to a region.
        image_size: ``(H, W)`` of the image that the map covers; boxes and areas are scaled to it.
        pixels: of the map that a region has at least.
        scale: millimetres per pixel of the image, where it is known.

    Returns:
        Regions, highest peak first.
    """
    # In float64: a threshold rounded to the map's type would disagree with the verdict.
    above = anomaly_map > np.float64(threshold)
    if not above.any():
        return ()
    from scipy import ndimage

    labels, count = ndimage.label(above, structure=np.ones((3, 3), dtype=bool))
    index = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept = areas >= pixels
    if not kept.any():
        return ()
    peaks = ndimage.maximum_position(anomaly_map, labels, index)
    scale_y, scale_x = image_size[0] / above.shape[0], image_size[1] / above.shape[1]
    regions = [
        Region(
            box=(
                math.floor(columns.start * scale_x),
                math.floor(rows.start * scale_y),
                math.ceil(columns.stop * scale_x),
                math.ceil(rows.stop * scale_y),
            ),
            area=max(1, round(float(area) * scale_x * scale_y)),
            peak=float(anomaly_map[peak]),
            peak_at=_image_pixel(peak, above.shape, image_size)[::-1],
            area_mm2=None if scale is None else float(area) * scale_x * scale_y * scale**2,
        )
        for (rows, columns), area, peak, is_kept in zip(
            ndimage.find_objects(labels), areas, peaks, kept, strict=True
        )
        if is_kept
    ]
    return tuple(sorted(regions, key=lambda region: (-region.peak, region.box)))


def resize_map(anomaly_map: Map, size: tuple[int, int]) -> Map:
    """Bilinear resizing of a map ``[h, w]`` to ``[H, W]``, with antialias where it shrinks."""
    resized = functional.interpolate(
        torch.from_numpy(anomaly_map)[None, None], size=size, mode="bilinear", antialias=True
    )
    pixels: Map = resized[0, 0].numpy()
    return pixels


def image_map(anomaly_map: Map, regions: Sequence[Region], size: tuple[int, int]) -> Map:
    """The map in the image's resolution, its peaks kept.

    Args:
        anomaly_map: ``[h, w]``, of the network.
        regions: found in it, in pixels of the image.
        size: ``(H, W)`` of the image.

    Returns:
        ``[H, W]``, whose maximum is the network's map's.
    """
    if anomaly_map.shape == size:
        return anomaly_map
    resized = resize_map(anomaly_map, size)
    highest = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    y, x = _image_pixel(highest, anomaly_map.shape, size)
    resized[y, x] = anomaly_map[highest]
    for region in regions:
        x, y = region.peak_at
        resized[y, x] = max(resized[y, x], np.float32(region.peak))
    return resized


def _image_pixel(
    at: Sequence[Any], map_size: tuple[int, ...], image_size: tuple[int, int]
) -> tuple[int, int]:
    """Row and column of the image pixel below a map pixel's centre."""
    row, column = (
        int((index + 0.5) * length / extent)
        for index, extent, length in zip(at, map_size, image_size, strict=True)
    )
    return row, column

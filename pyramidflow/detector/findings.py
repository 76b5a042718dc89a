"""What a detector finds in an image."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["ok", "ng"]


@dataclass(frozen=True)
class Region:
    """A connected part of the anomaly map above the threshold, in pixels of the image.

    Attributes:
        box: ``(left, top, right, bottom)``, right and bottom exclusive.
        area: in pixels.
        peak: largest value of the anomaly map inside.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float


@dataclass(frozen=True)
class Inspection:
    """What a detector finds in one image.

    Attributes:
        score: maximum of the anomaly map.
        threshold: largest score that still is ``"ok"``; ``None`` before calibration.
        verdict: ``"ok"`` or ``"ng"``; ``None`` before calibration.
        regions: where the map exceeds the threshold, highest peak first; never empty for ``"ng"``.
        anomaly_map: float32 ``[H, W]`` in the image's own resolution.
    """

    score: float
    threshold: float | None
    verdict: Verdict | None
    regions: tuple[Region, ...]
    anomaly_map: npt.NDArray[np.float32]

    def as_dict(self) -> dict[str, Any]:
        """Score, threshold, verdict and regions as a JSON object."""
        return {
            "score": self.score,
            "threshold": self.threshold,
            "verdict": self.verdict,
            "regions": [{"box": list(r.box), "area": r.area, "peak": r.peak} for r in self.regions],
        }


def find_regions(
    anomaly_map: npt.NDArray[np.float32], threshold: float, image_size: tuple[int, int]
) -> tuple[Region, ...]:
    """Connected parts (8-neighbourhood) of an anomaly map above a threshold.

    Args:
        anomaly_map: ``[h, w]``.
        threshold: values above it belong to a region.
        image_size: ``(H, W)`` of the image that the map covers; boxes and areas are scaled to it.

    Returns:
        Regions, highest peak first.
    """
    # In float64: a threshold rounded to the map's type would disagree with the verdict.
    above = anomaly_map > np.float64(threshold)
    if not above.any():
        return ()
    from skimage import measure

    height, width = anomaly_map.shape
    scale_y, scale_x = image_size[0] / height, image_size[1] / width
    labels = measure.label(above, connectivity=2)  # type: ignore[no-untyped-call]
    found = measure.regionprops(labels, intensity_image=anomaly_map)  # type: ignore[no-untyped-call]
    regions = [
        Region(
            box=(
                math.floor(part.bbox[1] * scale_x),
                math.floor(part.bbox[0] * scale_y),
                math.ceil(part.bbox[3] * scale_x),
                math.ceil(part.bbox[2] * scale_y),
            ),
            area=max(1, round(float(part.area) * scale_x * scale_y)),
            peak=float(part.intensity_max),
        )
        for part in found
    ]
    return tuple(sorted(regions, key=lambda region: (-region.peak, region.box)))

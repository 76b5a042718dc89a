"""What the network says about an image, at the size that it works at."""

from dataclasses import dataclass

from pyramidflow.detector.counted_area import Mask
from pyramidflow.detector.findings import Map, PartPose, StageTimes


@dataclass(frozen=True)
class WorkingMap:
    """What the network says about one image, at the size that it works at.

    Attributes:
        score: maximum of the map, or what a minimum area makes of it; finite.
        anomaly_map: float32 ``[h, w]``, the feature map's size, as the image lies.
        image_size: ``(H, W)`` of the image.
        times: how long it took.
        pose: of the part; ``None`` where the detector does not align.
        pixels: of the map that a region has at least.
        counted: ``[h, w]``, true where defects count, as the image lies; ``None`` everywhere.
    """

    score: float
    anomaly_map: Map
    image_size: tuple[int, int]
    times: StageTimes
    pose: PartPose | None = None
    pixels: int = 1
    counted: Mask | None = None

    @property
    def is_placed(self) -> bool:
        """Whether the score is that of a part in the pose that it is to be compared in."""
        return self.pose is None or self.pose.is_found

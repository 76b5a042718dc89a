"""What a detector's file tells about its training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.validated import Validated, setting

GAIN = 0.9
"""Share of their scores that good parts keep, at most, where an alignment is worth it."""

SLIGHT_SHIFT = 0.003
"""Share of the width that parts may lie off and count as aligned."""

SLIGHT_ANGLE = 0.5
"""Likewise, in degrees."""


@dataclass(frozen=True)
class TrainingRecord(Validated):
    """What a training did; part of every detector file.

    Attributes:
        category: name of the images' folder.
        layout: of the data set.
        images: trained on.
        held_out: good images that were not.
        loss: of the last epoch.
        held_out_loss: likewise, on the held-out images.
        epochs: completed.
        seconds: training time, over all runs.
        finished: date and time, as ISO 8601.
        torch: version of PyTorch.
        packages: names and versions of the others that decide which pixels a file has.
        contents: a digest of each image that was trained on, at the size that the network works at.
        suspects: images that template and spread leave out, the worst first.
        suspect_scores: of each of them, against the others.
        unplaced: images whose part has no pose; they were not used.
        shift: how far good parts lie off before any alignment, median, as a share of the width;
            ``None`` where they have no pose in common, or are few.
        angle: how far they are turned likewise, in degrees.
        lying_scores: mean and standard deviation of scores of good images against others, as they
            lie.
        aligned_scores: likewise, in one pose.
    """

    group: ClassVar[str] = "training record"

    category: str = setting("")
    layout: str = setting("folder")
    images: int = setting(0, least=0)
    held_out: int = setting(0, least=0)
    loss: float | None = setting(None)
    held_out_loss: float | None = setting(None)
    epochs: int = setting(0, least=0)
    seconds: float = setting(0.0, least=0)
    finished: str = setting("")
    torch: str = setting("")
    packages: tuple[str, ...] = setting(())
    contents: tuple[str, ...] = setting(())
    suspects: tuple[str, ...] = setting(())
    suspect_scores: tuple[float, ...] = setting(())
    unplaced: tuple[str, ...] = setting(())
    shift: float | None = setting(None, least=0)
    angle: float | None = setting(None, least=0, most=180)
    lying_scores: tuple[float, ...] = setting((), least=0)
    aligned_scores: tuple[float, ...] = setting((), least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.suspects) != len(self.suspect_scores):
            raise InputError(
                f"suspects names {len(self.suspects)} images and suspect_scores holds "
                f"{len(self.suspect_scores)}: one score for each image is expected."
            )
        lengths = {len(self.lying_scores), len(self.aligned_scores)}
        if lengths != ({0} if self.shift is None or self.angle is None else {2}):
            raise InputError(
                f"lying_scores is {list(self.lying_scores)} and aligned_scores "
                f"{list(self.aligned_scores)}: mean and standard deviation are expected beside "
                "shift and angle, and only there."
            )

    @property
    def advice(self) -> Literal["none", "shift", "turn"]:
        """The alignment that is worth it, by how good parts lie and score."""
        if self.shift is None or self.angle is None:
            return "none"
        if self.aligned_scores[0] > GAIN * self.lying_scores[0]:
            return "none"
        if self.angle > SLIGHT_ANGLE:
            return "turn"
        return "shift" if self.shift > SLIGHT_SHIFT else "none"

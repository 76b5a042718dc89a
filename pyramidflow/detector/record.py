"""What a detector's file tells about its training."""

from dataclasses import dataclass
from typing import ClassVar

from pyramidflow.errors import InputError
from pyramidflow.settings import Validated, setting


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.suspects) != len(self.suspect_scores):
            raise InputError(
                f"suspects names {len(self.suspects)} images and suspect_scores holds "
                f"{len(self.suspect_scores)}: one score for each image is expected."
            )

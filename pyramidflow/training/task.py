"""What a training works on, and how it runs."""

from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data import ImageSet
from pyramidflow.model import PyramidFlow
from pyramidflow.spec import PLAIN_CONTRAST, ContrastRule, Preprocessing, Recipe
from pyramidflow.training.parallel import Parallel


@dataclass(frozen=True, eq=False)
class Task:
    """What a training works on; its result follows from this alone.

    Attributes:
        model: the network, on the device to train on.
        preprocessing: how images become network input.
        images: the training images.
        held_out: good images for the held-out loss; may be empty.
        recipe: how to train.
        contrast: what of the latents is wanted in the end.
    """

    model: PyramidFlow
    preprocessing: Preprocessing
    images: ImageSet
    held_out: ImageSet
    recipe: Recipe
    contrast: ContrastRule = PLAIN_CONTRAST


@dataclass(frozen=True)
class Run:
    """How a training runs; nothing of it changes the result.

    Attributes:
        checkpoint: file to write after each epoch and on a stop request; ``None`` writes none.
        resume: go on from the checkpoint.
        show_progress: show a bar and a line for each epoch on standard error.
        workers: processes that prepare images; ``None`` takes as many as help.
        parallel: the processes that train together; ``None`` is this one alone.
    """

    checkpoint: Path | None = None
    resume: bool = False
    show_progress: bool = True
    workers: int | None = None
    parallel: Parallel | None = None

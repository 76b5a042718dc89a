"""A whole training, as others call it: with its progress, from a checkpoint if asked."""

from pathlib import Path

from rich.console import Console

from pyramidflow.data import ImageSet
from pyramidflow.model import PyramidFlow
from pyramidflow.spec import PLAIN_CONTRAST, ContrastRule, Preprocessing, Recipe
from pyramidflow.training.loop import Trainer, TrainingResult
from pyramidflow.training.parallel import Parallel
from pyramidflow.training.progress import SilentProgress, TrainingProgress, console_progress


def train(
    model: PyramidFlow,
    preprocessing: Preprocessing,
    images: ImageSet,
    held_out: ImageSet,
    recipe: Recipe,
    *,
    contrast: ContrastRule = PLAIN_CONTRAST,
    checkpoint: Path | None = None,
    resume: bool = False,
    show_progress: bool = True,
    workers: int | None = None,
    parallel: Parallel | None = None,
) -> TrainingResult:
    """Train a network, see :class:`Trainer`.

    Args:
        model: the network, on the device to train on.
        preprocessing: how images become network input.
        images: the training images.
        held_out: good images for the held-out loss; may be empty.
        recipe: how to train.
        contrast: what of the latents is wanted in the end.
        checkpoint: file to write after each epoch and on a stop request.
        resume: go on from the checkpoint.
        show_progress: show a bar and a line for each epoch on standard error.
        workers: processes that prepare images; ``None`` takes as many as help.
        parallel: the processes that train together; ``None`` is this one alone.

    Returns:
        What is normal, and history.

    Raises:
        InputError: images cannot be used.
        CheckpointError: the checkpoint cannot be gone on from.
        Interrupted: a stop was requested; the checkpoint is written.
    """

    def run(progress: TrainingProgress) -> TrainingResult:
        trainer = Trainer(
            model,
            preprocessing,
            images,
            held_out,
            recipe,
            contrast,
            progress,
            checkpoint,
            workers,
            parallel,
        )
        if resume:
            trainer.resume()
        return trainer.run()

    if not show_progress or (parallel is not None and parallel.rank > 0):
        return run(SilentProgress())
    with console_progress(Console(stderr=True)) as progress:
        return run(progress)

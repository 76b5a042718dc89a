"""A whole training, as others call it: with its progress, from a checkpoint if asked."""

from rich.console import Console

from pyramidflow.training.loop import Trainer, TrainingResult
from pyramidflow.training.progress import SilentProgress, TrainingProgress, console_progress
from pyramidflow.training.task import Run, Task


def train(task: Task, run: Run) -> TrainingResult:
    """Train a network, see :class:`Trainer`.

    Args:
        task: what is trained, on what.
        run: how.

    Returns:
        What is normal, and history.

    Raises:
        InputError: images cannot be used.
        CheckpointError: the checkpoint cannot be gone on from.
        Interrupted: a stop was requested; the checkpoint is written.
    """
    if not run.show_progress or (run.parallel is not None and run.parallel.rank > 0):
        return _trained(task, SilentProgress(), run)
    with console_progress(Console(stderr=True)) as progress:
        return _trained(task, progress, run)


def _trained(task: Task, progress: TrainingProgress, run: Run) -> TrainingResult:
    trainer = Trainer(task, progress, run)
    if run.resume:
        trainer.resume()
    return trainer.run()

"""Training: losses, the loop, checkpoints."""

from pyramidflow.interrupt import Interrupted
from pyramidflow.spec import Recipe
from pyramidflow.training.loop import Trainer, TrainingResult
from pyramidflow.training.loss import ABLATIONS, ContrastLoss, LikelihoodLoss, choose_loss
from pyramidflow.training.parallel import OneProcess, Parallel
from pyramidflow.training.presets import PRESETS, preset_settings
from pyramidflow.training.task import Run, Task
from pyramidflow.training.torchrun import own_device, processes
from pyramidflow.training.training import train

__all__ = [
    "ABLATIONS",
    "PRESETS",
    "ContrastLoss",
    "Interrupted",
    "LikelihoodLoss",
    "OneProcess",
    "Parallel",
    "Recipe",
    "Run",
    "Task",
    "Trainer",
    "TrainingResult",
    "choose_loss",
    "own_device",
    "preset_settings",
    "processes",
    "train",
]

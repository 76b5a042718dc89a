"""Training: losses, the loop, checkpoints."""

from pyramidflow.interrupt import Interrupted
from pyramidflow.spec import Recipe
from pyramidflow.training.loop import Trainer, TrainingResult, train
from pyramidflow.training.loss import ABLATIONS, ContrastLoss, LikelihoodLoss, choose_loss
from pyramidflow.training.presets import PRESETS, preset_settings

__all__ = [
    "ABLATIONS",
    "PRESETS",
    "ContrastLoss",
    "Interrupted",
    "LikelihoodLoss",
    "Recipe",
    "Trainer",
    "TrainingResult",
    "choose_loss",
    "preset_settings",
    "train",
]

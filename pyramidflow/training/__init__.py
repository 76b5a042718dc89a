"""Training: losses, the loop, checkpoints."""

from pyramidflow.interrupt import Interrupted
from pyramidflow.training.loop import Recipe, Trainer, TrainingResult, train
from pyramidflow.training.loss import ABLATIONS, ContrastLoss, LikelihoodLoss, choose_loss
from pyramidflow.training.settings import PublishedSettings, published_settings

__all__ = [
    "ABLATIONS",
    "ContrastLoss",
    "Interrupted",
    "LikelihoodLoss",
    "PublishedSettings",
    "Recipe",
    "Trainer",
    "TrainingResult",
    "choose_loss",
    "published_settings",
    "train",
]

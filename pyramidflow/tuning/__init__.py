"""Choosing settings on good images alone."""

from pyramidflow.tuning.choices import CHOICES, Choice
from pyramidflow.tuning.defects import KINDS, Defective, draw_defect
from pyramidflow.tuning.progress import Progress
from pyramidflow.tuning.scene import Scene
from pyramidflow.tuning.search import tune

__all__ = [
    "CHOICES",
    "KINDS",
    "Choice",
    "Defective",
    "Progress",
    "Scene",
    "draw_defect",
    "tune",
]

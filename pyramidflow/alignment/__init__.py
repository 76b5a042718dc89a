"""Parts that lie shifted or turned, brought to one pose before they are compared.

``pose.py`` has poses and how pictures are read at them, ``search.py`` finds the pose of a part,
``reference.py`` chooses from good images what poses are measured against, ``aligner.py`` brings an
image to the reference's pose and its map back, ``images.py`` are the images of a training, aligned.
"""

from pyramidflow.alignment.aligner import Aligner, Placed
from pyramidflow.alignment.images import AlignedSet
from pyramidflow.alignment.pose import Pose
from pyramidflow.alignment.reference import Learned, Reference, ReferenceFacts, learned
from pyramidflow.alignment.search import Found, PoseSearch

__all__ = [
    "AlignedSet",
    "Aligner",
    "Found",
    "Learned",
    "Placed",
    "Pose",
    "PoseSearch",
    "Reference",
    "ReferenceFacts",
    "learned",
]

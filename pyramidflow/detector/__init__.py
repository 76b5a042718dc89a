"""What users hold: a detector that trains, calibrates, inspects, saves and loads.

``artifact.py`` is the one file, ``header.py`` what it says and ``record.py`` what that tells about
the training, ``fitting.py`` the training, ``trainingset.py`` its images, ``size.py`` the size that
it chooses, ``pose_statistics.py`` how parts lie in them, ``session.py`` the inspection,
``counted_area.py`` where defects count, ``placing.py`` the pose that it sees parts in and
``current.py`` the session that fits now, ``threshold.py``, ``calibration.py`` and ``verdict.py``
the threshold and its verdict, ``scoring.py`` which scores they count for, ``working_map.py`` what
the network says, ``findings.py`` what an inspection gives and ``overlay.py`` the picture of it;
``initialisation.py`` what a detector starts from, ``state.py`` what it holds, and ``detector.py``
what users call. The settings are in :mod:`pyramidflow.spec`.
"""

from pyramidflow.detector.calibration import Calibration
from pyramidflow.detector.detector import Detector
from pyramidflow.detector.findings import Inspection, Region, StageTimes, find_regions
from pyramidflow.detector.session import Session
from pyramidflow.detector.verdict import Verdict
from pyramidflow.spec import Spec

__all__ = [
    "Calibration",
    "Detector",
    "Inspection",
    "Region",
    "Session",
    "Spec",
    "StageTimes",
    "Verdict",
    "find_regions",
]

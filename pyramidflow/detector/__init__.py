"""What users hold: a detector that trains, calibrates, inspects, saves and loads.

``spec.py`` holds every setting, ``artifact.py`` the one file, ``fitting.py`` the training,
``session.py`` the inspection, ``smoothing.py`` what is done to a map before it is judged,
``calibration.py`` and ``verdict.py`` the threshold and its verdict,
``findings.py`` what an inspection gives; ``detector.py`` puts them into one object.
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

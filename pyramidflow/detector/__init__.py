"""What users hold: a detector that trains, calibrates, inspects, saves and loads."""

from pyramidflow.detector.detector import Detector, resolve_device
from pyramidflow.detector.findings import Inspection, Region, Verdict, find_regions

__all__ = ["Detector", "Inspection", "Region", "Verdict", "find_regions", "resolve_device"]

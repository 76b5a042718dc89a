"""The line: frames from a source, decoded, inspected, and written to a sink."""

from pyramidflow.line.frame import Frame
from pyramidflow.line.inspection import Tally, inspect_frames
from pyramidflow.line.rehearsal import Rehearsal, rehearse
from pyramidflow.line.results import RESULTS_NAME
from pyramidflow.line.sinks.folder import (
    ResultFolder,
    open_result_folder,
    resume_result_folder,
)
from pyramidflow.line.sources.files import FoundFrames, find_frames, pictures_among

__all__ = [
    "RESULTS_NAME",
    "FoundFrames",
    "Frame",
    "Rehearsal",
    "ResultFolder",
    "Tally",
    "find_frames",
    "inspect_frames",
    "open_result_folder",
    "pictures_among",
    "rehearse",
    "resume_result_folder",
]

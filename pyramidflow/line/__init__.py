"""The line: frames from a source, decoded, inspected, and written to a sink."""

from typing import TYPE_CHECKING, Any

from pyramidflow.line.frame import Frame
from pyramidflow.line.inspection import Tally, inspect_frames
from pyramidflow.line.inspector import open_inspector
from pyramidflow.line.listing import FoundFrames, find_frames, pictures_among
from pyramidflow.line.rehearsal import Rehearsal, rehearse
from pyramidflow.line.result_folder import (
    ResultFolder,
    open_result_folder,
    resume_result_folder,
)
from pyramidflow.line.results import RESULTS_NAME

if TYPE_CHECKING:
    from pyramidflow.line.line import Line

__all__ = [
    "RESULTS_NAME",
    "FoundFrames",
    "Frame",
    "Line",
    "Rehearsal",
    "ResultFolder",
    "Tally",
    "find_frames",
    "inspect_frames",
    "open_inspector",
    "open_result_folder",
    "pictures_among",
    "rehearse",
    "resume_result_folder",
]


def __getattr__(name: str) -> Any:
    # The line needs an extra, and loads its libraries; an inspection needs neither.
    if name == "Line":
        from pyramidflow.line.line import Line

        return Line
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

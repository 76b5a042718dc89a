"""The line: frames from a source, decoded, inspected, and written to a sink."""

from typing import TYPE_CHECKING, Any

from pyramidflow.line.frame import Frame
from pyramidflow.line.listing import FoundFrames, find_frames, pictures_among
from pyramidflow.line.pipeline.inspector import open_inspector
from pyramidflow.line.rehearsal import Rehearsal, rehearse
from pyramidflow.line.results.folder import (
    ResultFolder,
    open_result_folder,
    resume_result_folder,
)
from pyramidflow.line.results.inspection import Tally, inspect_frames
from pyramidflow.line.results.names import RESULTS_NAME

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

"""The line: sources → decode → detect → verdict → sinks; and reports."""

from pyramidflow.inspection.earlier import RESULTS_NAME
from pyramidflow.inspection.evaluation_report import write_evaluation_report
from pyramidflow.inspection.line import Tally, inspect_sources
from pyramidflow.inspection.overlay import overlay
from pyramidflow.inspection.rehearsal import Rehearsal, rehearse
from pyramidflow.inspection.report import write_report
from pyramidflow.inspection.report_data import Report, ReportExample
from pyramidflow.inspection.sinks import (
    ResultFolder,
    open_result_folder,
    resume_result_folder,
    write_png,
)
from pyramidflow.inspection.sources import (
    Source,
    Sources,
    find_sources,
    pictures_among,
)

__all__ = [
    "RESULTS_NAME",
    "Rehearsal",
    "Report",
    "ReportExample",
    "ResultFolder",
    "Source",
    "Sources",
    "Tally",
    "find_sources",
    "inspect_sources",
    "open_result_folder",
    "overlay",
    "pictures_among",
    "rehearse",
    "resume_result_folder",
    "write_evaluation_report",
    "write_png",
    "write_report",
]

"""The report of an evaluation: ``contents`` is what it shows, ``page`` and ``charts`` draw it.

``evaluated`` makes the contents from an evaluation and its detector.
"""

from pyramidflow.evaluation.report.contents import Report, ReportExample
from pyramidflow.evaluation.report.evaluated import write_evaluation_report
from pyramidflow.evaluation.report.page import write_report

__all__ = ["Report", "ReportExample", "write_evaluation_report", "write_report"]

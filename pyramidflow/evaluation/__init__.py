"""Evaluation: metrics, and tables of them."""

from pyramidflow.evaluation.accumulate import PixelStatistics
from pyramidflow.evaluation.evaluate import Evaluation, Outcome, evaluate
from pyramidflow.evaluation.jobs import FailedJob, Job, find_detectors, plan_jobs
from pyramidflow.evaluation.masks import ReducedMask, reduce_mask
from pyramidflow.evaluation.metrics import (
    Metrics,
    aupro,
    auroc,
    average_precision,
    evaluate_maps,
    f1_max,
    pro_curve,
    roc_curve,
    thin_curve,
)
from pyramidflow.evaluation.rates import Rate
from pyramidflow.evaluation.scores import write_scores
from pyramidflow.evaluation.tables import (
    COUNTS,
    SETTINGS,
    formatted,
    has_mean,
    remarks,
    table_rows,
    write_csv,
    write_markdown,
)
from pyramidflow.evaluation.unusable import UNUSABLE, reason_of

__all__ = [
    "COUNTS",
    "SETTINGS",
    "UNUSABLE",
    "Evaluation",
    "FailedJob",
    "Job",
    "Metrics",
    "Outcome",
    "PixelStatistics",
    "Rate",
    "ReducedMask",
    "aupro",
    "auroc",
    "average_precision",
    "evaluate",
    "evaluate_maps",
    "f1_max",
    "find_detectors",
    "formatted",
    "has_mean",
    "plan_jobs",
    "pro_curve",
    "reason_of",
    "reduce_mask",
    "remarks",
    "roc_curve",
    "table_rows",
    "thin_curve",
    "write_csv",
    "write_markdown",
    "write_scores",
]

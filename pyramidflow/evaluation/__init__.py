"""Evaluation: metrics, and tables of them."""

from pyramidflow.evaluation.accumulate import PixelStatistics
from pyramidflow.evaluation.evaluate import Evaluation, evaluate
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
from pyramidflow.evaluation.tables import SETTINGS, formatted, table_rows, write_csv, write_markdown

__all__ = [
    "SETTINGS",
    "Evaluation",
    "Metrics",
    "PixelStatistics",
    "ReducedMask",
    "aupro",
    "auroc",
    "average_precision",
    "evaluate",
    "evaluate_maps",
    "f1_max",
    "formatted",
    "pro_curve",
    "reduce_mask",
    "roc_curve",
    "table_rows",
    "thin_curve",
    "write_csv",
    "write_markdown",
]

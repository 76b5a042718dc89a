"""The paper's tables again: every category trained, measured, and laid beside its number."""

from pyramidflow.evaluation.reproduction.experiments import (
    VARIANTS,
    Experiment,
    Variant,
    check_categories,
    earlier_experiments,
    plan_experiments,
    variants_of,
)
from pyramidflow.evaluation.reproduction.published import METRICS, Published, published
from pyramidflow.evaluation.reproduction.records import Record, read_record, write_record
from pyramidflow.evaluation.reproduction.reproduce import Reproduction, State
from pyramidflow.evaluation.reproduction.tables import FILES, Cell, table_cells, write_tables

__all__ = [
    "FILES",
    "METRICS",
    "VARIANTS",
    "Cell",
    "Experiment",
    "Published",
    "Record",
    "Reproduction",
    "State",
    "Variant",
    "check_categories",
    "earlier_experiments",
    "plan_experiments",
    "published",
    "read_record",
    "table_cells",
    "variants_of",
    "write_record",
    "write_tables",
]

"""The paper's tables again: every category trained, measured, and laid beside its number."""

from pyramidflow.evaluation.reproduction.published import METRICS, Published, published
from pyramidflow.evaluation.reproduction.records import Record, read_record, write_record
from pyramidflow.evaluation.reproduction.reproduce import Reproduction, State
from pyramidflow.evaluation.reproduction.tables import FILES, Cell, table_cells, write_tables
from pyramidflow.evaluation.reproduction.trials import (
    VARIANTS,
    Trial,
    Variant,
    check_categories,
    earlier_trials,
    plan_trials,
    variants_of,
)

__all__ = [
    "FILES",
    "METRICS",
    "VARIANTS",
    "Cell",
    "Published",
    "Record",
    "Reproduction",
    "State",
    "Trial",
    "Variant",
    "check_categories",
    "earlier_trials",
    "plan_trials",
    "published",
    "read_record",
    "table_cells",
    "variants_of",
    "write_record",
    "write_tables",
]

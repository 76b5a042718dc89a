"""The numbers that the paper and its supplement print, from ``published.csv``, in per cent."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

METRICS = {
    "pixel_auroc": "Pixel-AUROC",
    "aupro@1.0": "AUPRO",
    "image_auroc": "Image-AUROC",
}
"""Metrics that the paper has numbers of, by their names here: as its tables call them."""

DATA_SETS = {"mvtec": "MVTec AD", "btad": "BTAD"}
"""Data sets that the paper has numbers of, by the name of their layout."""

_COLUMNS = {
    "pixel_auroc": "pixel_auroc",
    "aupro@1.0": "aupro_at_1.0",
    "image_auroc": "image_auroc",
}


@dataclass(frozen=True)
class Published:
    """What the paper prints of one category.

    Attributes:
        source: the table, as ``"table S1"``.
        values: by names of :data:`METRICS`, in per cent; those that the table has.
    """

    source: str
    values: Mapping[str, float]


def published(layout: str, encoder: str, variant: str, category: str) -> Published | None:
    """Look a category's numbers up.

    Args:
        layout: of the data set.
        encoder: ``"lift"`` (tables S1 and S2, 256×256) or ``"resnet18"`` (tables 3 to 5,
            1024×1024).
        variant: ``"baseline"``, or the ablation's numeral, as ``"II"``.
        category: its name.

    Returns:
        ``None`` where the paper prints none.

    Source: supplement, tables S1 and S2; paper, tables 3, 4 and 5.
    """
    return _table().get((DATA_SETS.get(layout, ""), encoder, variant, category))


@cache
def _table() -> dict[tuple[str, str, str, str], Published]:
    file = resources.files(__package__).joinpath("published.csv")
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return {
        (row["dataset"], row["encoder"], row["variant"].split()[0], row["category"]): Published(
            row["source"],
            {name: float(row[column]) for name, column in _COLUMNS.items() if row[column]},
        )
        for row in rows
    }

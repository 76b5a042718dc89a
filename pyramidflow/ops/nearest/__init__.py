"""Distance to the nearest of many entries."""

from typing import cast

from torch import Tensor

from pyramidflow.ops.nearest import schema
from pyramidflow.ops.nearest.reference import COLUMNS, ROWS
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted

__all__ = ["nearest_distance"]


def nearest_distance(features: Tensor, entries: Tensor) -> Tensor:
    """Distance of each position to the nearest entry: ``d_p = √(min_n ‖f_p − e_n‖² / F)``.

    It is exact but for rounding: no entry is left out that may be the nearest. Not finite where a
    feature or an entry is not.

    Args:
        features: ``f [P, F]``.
        entries: ``e [N, F]``.

    Returns:
        ``[P]``. There is no derivative.

    Raises:
        InputError: one of them is no matrix, has no columns, or they differ in columns or device,
            there is no entry, or a derivative is asked for.
    """
    schema.check_nearest_distance(features, entries)
    return cast(Tensor, NAMESPACE_OPS.nearest_distance(*promoted(features, entries)))


def working_floats(entries: int, features: int) -> int:
    """The memory that it takes at most beside its arguments and a copy of the features.

    Args:
        entries: ``N``.
        features: ``F``.
    """
    return entries * features + ROWS * COLUMNS

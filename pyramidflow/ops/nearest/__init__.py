"""Distance to the nearest of many entries."""

from typing import cast

import torch
from torch import Tensor

from pyramidflow.ops import dispatch
from pyramidflow.ops.libraries.cpu import level
from pyramidflow.ops.nearest import cpu, schema
from pyramidflow.ops.nearest.reference import COLUMNS, ROWS
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted

__all__ = ["NearestSearch", "nearest_distance"]


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


class NearestSearch:
    """Searches among the same entries: what the CPU's kernel needs of them is made once.

    Args:
        entries: ``e [N, F]``. They must not change afterwards.

    Raises:
        InputError: they are no matrix, or there is none.
    """

    def __init__(self, entries: Tensor) -> None:
        schema.check_entries(entries)
        self._entries = entries.detach().contiguous()
        self._known: tuple[str, Tensor] | None = None

    def distance(self, features: Tensor) -> Tensor:
        """:func:`nearest_distance` of features ``[P, F]`` and the entries, and its errors."""
        if not self._is_for_kernel(features):
            return nearest_distance(features, self._entries)
        schema.check_nearest_distance(features, self._entries)
        known = self._known
        if known is None or known[0] != level():
            known = self._known = (level(), cpu.prepared(self._entries))
        return cpu.searched(features, self._entries, known[1])

    def _is_for_kernel(self, features: Tensor) -> bool:
        """Whether the operation would do no more than call the kernel."""
        return (
            type(features) is Tensor
            and features.dtype == self._entries.dtype
            and not (features.requires_grad and torch.is_grad_enabled())
            and cpu.is_supported()
            and dispatch.select(features.device.type, features.dtype).name == "cpu"
        )


def working_floats(entries: int, features: int) -> int:
    """The memory that it takes at most beside its arguments and a copy of the features.

    Args:
        entries: ``N``.
        features: ``F``.
    """
    return entries * features + ROWS * COLUMNS

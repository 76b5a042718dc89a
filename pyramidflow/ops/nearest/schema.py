"""The distance to the nearest entry."""

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import check_operands, check_size
from pyramidflow.ops.op import Op, register
from pyramidflow.ops.samples import Calls, Samples


def check_nearest_distance(features: Tensor, entries: Tensor) -> None:
    """Of features and of the entries that they are compared with."""
    check_operands(features=features, entries=entries)
    _check_matrix("features", features, 0)
    check_entries(entries)
    if features.shape[1] != entries.shape[1]:
        raise InputError(
            f"entries has shape {list(entries.shape)}, but features has {list(features.shape)}: "
            "give as many columns."
        )


def check_entries(entries: Tensor) -> None:
    """Of entries alone."""
    _check_matrix("entries", entries, 1)


def _check_matrix(name: str, x: Tensor, least_rows: int) -> None:
    if x.dim() != 2 or x.shape[0] < least_rows or x.shape[1] == 0:
        raise InputError(
            f"{name} has shape {list(x.shape)}: give a matrix, with one column and one entry "
            "at least."
        )
    check_size(name, x.shape)


def _fake_nearest_distance(features: Tensor, entries: Tensor) -> Tensor:
    return allocation.empty((features.shape[0],), like=features)


def _samples(s: Samples) -> Calls:
    return [(s.draw(30, 7), s.draw(50, 7)), (s.draw(5, 16), s.draw(1, 16))]


register(
    __package__,
    Op(
        "nearest_distance(Tensor features, Tensor entries) -> Tensor",
        check=check_nearest_distance,
        fake=_fake_nearest_distance,
        samples=_samples,
    ),
)

"""The pyramid: one level down, the detail between two levels, and back."""

from typing import Literal, cast

from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.functions.checks import check_choice, check_feature_map, promoted
from pyramidflow.ops.registry.op import NAMESPACE_OPS

Reduction = Literal["nearest", "max"]


def pyramid_down(x: Tensor, reduction: Reduction = "nearest") -> Tensor:
    """Go one pyramid level down: ``D(x)``.

    ``D(x) = reduce(G(x))`` with ``G`` the 5×5 binomial filter (zero padding) and ``reduce`` either
    rows and columns 0, 2, 4 … (``"nearest"``) or the maximum of each 2×2 cell (``"max"``).

    Args:
        x: ``[B, C, H, W]``.
        reduction: ``"nearest"`` (the supplement) or ``"max"`` (the released code).

    Returns:
        ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.

    Raises:
        InputError: ``x`` is not a floating ``[B, C, H, W]`` tensor, or the reduction is unknown.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    check_feature_map("x", x)
    check_choice("reduction", reduction, ("nearest", "max"))
    y, _ = NAMESPACE_OPS.pyramid_down(x, reduction)
    return cast(Tensor, y)


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """Detail of a level that its coarser neighbour does not hold: ``fine − U(coarse)``.

    ``U(x) = G(nearest-neighbour up-sampling of x to the finer size)``.

    Args:
        fine: ``[B, C, H, W]``.
        coarse: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: the two sizes are not neighbouring pyramid levels.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    _check_neighbours("fine", fine, "coarse", coarse)
    fine, coarse = promoted(fine, coarse)
    return cast(Tensor, NAMESPACE_OPS.pyramid_residual(fine, coarse))


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """Undo :func:`pyramid_residual`: ``U(coarse) + residual``.

    Args:
        coarse: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``.
        residual: ``[B, C, H, W]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: the two sizes are not neighbouring pyramid levels.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    _check_neighbours("residual", residual, "coarse", coarse)
    coarse, residual = promoted(coarse, residual)
    return cast(Tensor, NAMESPACE_OPS.pyramid_merge(coarse, residual))


def _check_neighbours(fine_name: str, fine: Tensor, coarse_name: str, coarse: Tensor) -> None:
    check_feature_map(fine_name, fine)
    check_feature_map(coarse_name, coarse)
    height, width = fine.shape[-2:]
    expected = (*fine.shape[:2], (height + 1) // 2, (width + 1) // 2)
    if coarse.shape != expected:
        raise InputError(
            f"{coarse_name} has shape {list(coarse.shape)}, but {fine_name} has "
            f"{list(fine.shape)}: the coarser level must be {list(expected)}."
        )

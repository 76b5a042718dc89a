"""The pyramid: one level down, the detail between two levels, and back."""

from typing import cast

from torch import Tensor

from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted
from pyramidflow.ops.pyramid import schema
from pyramidflow.variants import Reduction

__all__ = ["Reduction", "pyramid_down", "pyramid_merge", "pyramid_residual"]


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
        InputError: ``x`` is not a floating ``[B, C, H, W]`` tensor with channels and pixels, or
            the reduction is unknown.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    schema.check_pyramid_down(x, reduction)
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
        InputError: the two are not neighbouring pyramid levels on one device.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    schema.check_pyramid_residual(fine, coarse)
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
        InputError: the two are not neighbouring pyramid levels on one device.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    schema.check_pyramid_merge(coarse, residual)
    coarse, residual = promoted(coarse, residual)
    return cast(Tensor, NAMESPACE_OPS.pyramid_merge(coarse, residual))

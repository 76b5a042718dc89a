"""One pyramid level down on the CPU, by ``csrc/pyramid``, into given memory."""

from torch import Tensor

from pyramidflow.ops.libraries.cpu import Image, function


@function("pyramid_down")
def pyramid_down_into(x: Tensor, y: Tensor, fine: Image) -> None:
    """``y = D(x)``, the nearest pixel of each cell."""


@function("pyramid_down_backward")
def _pyramid_down_backward_into(grad_y: Tensor, grad_x: Tensor, fine: Image) -> None: ...


@function("pyramid_down_max")
def pyramid_down_max_into(x: Tensor, y: Tensor, index: Tensor, fine: Image) -> None:
    """``y = D(x)``, the largest pixel of each cell, and its place."""


@function("pyramid_down_max_backward")
def pyramid_down_max_backward_into(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Image
) -> None:
    """``grad_x = Gᵀ`` of the gradients at the places of their maxima."""


def down_into(x: Tensor, y: Tensor, index: Tensor, fine: Image, reduction: str) -> None:
    """``y = D(x)``; for maxima their places, too."""
    if reduction == "nearest":
        pyramid_down_into(x, y, fine)
    else:
        pyramid_down_max_into(x, y, index, fine)


def down_backward_into(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Image, reduction: str
) -> None:
    """``grad_x = Dᵀ grad_y``; of maxima the gradients go to their places."""
    if reduction == "nearest":
        _pyramid_down_backward_into(grad_y, grad_x, fine)
    else:
        pyramid_down_max_backward_into(grad_y, index, grad_x, fine)

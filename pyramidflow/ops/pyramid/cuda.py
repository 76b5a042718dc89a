"""One pyramid level down on a GPU, by the kernels of ``csrc/pyramid``, into given memory."""

from torch import Tensor

from pyramidflow.ops.libraries.cuda import Level, kernel

_REDUCTIONS = {"nearest": 0, "max": 1}


@kernel("pyramid_down")
def _pyramid_down(x: Tensor, y: Tensor, index: Tensor, fine: Level, reduction: int) -> None: ...


@kernel("pyramid_down_backward")
def _pyramid_down_backward(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Level, reduction: int
) -> None: ...


def down_into(x: Tensor, y: Tensor, index: Tensor, fine: Level, reduction: str) -> None:
    """``y = D(x)``; for maxima their places, too."""
    _pyramid_down(x, y, index, fine, _REDUCTIONS[reduction])


def down_backward_into(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Level, reduction: str
) -> None:
    """``grad_x = Dᵀ grad_y``; of maxima the gradients go to their places."""
    _pyramid_down_backward(grad_y, index, grad_x, fine, _REDUCTIONS[reduction])

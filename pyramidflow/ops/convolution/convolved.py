"""What a convolution's gradient is made of."""

from typing import NamedTuple

from torch import Tensor


class Convolved(NamedTuple):
    """A convolution that was computed, as its gradient takes it.

    Attributes:
        x: ``[B, I, H, W]``.
        weight: ``[O, I, k, k]``.
        resample: ``"none"``, ``"up"`` or ``"down"``.
        need_x: whether the gradient of ``x`` is wanted.
        need_weight: whether that of ``weight`` is.
    """

    x: Tensor
    weight: Tensor
    resample: str
    need_x: bool
    need_weight: bool

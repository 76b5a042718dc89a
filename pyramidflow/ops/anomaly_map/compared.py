"""What an anomaly map is made of."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Compared(NamedTuple):
    """A pyramid of latents and what it is compared with, levels finest first.

    Attributes:
        latents: levels ``[B, C, h_d, w_d]``.
        template: levels ``[1 or B, C, h_d, w_d]``.
        inverse_spread: levels ``[1, C, h_d, w_d]``; ``None`` for 1.
        shift: levels ``[B, C, 1, 1]``; ``None`` for 0.
        tolerance: pixels of each level.
    """

    latents: Sequence[Tensor]
    template: Sequence[Tensor]
    inverse_spread: Sequence[Tensor] | None = None
    shift: Sequence[Tensor] | None = None
    tolerance: int = 0

"""What every way to compare latents with what is normal has in common.

Each way is a file of its own beside this one: ``contrast.py`` (the template), ``templates.py``,
``agreeing.py``, ``codebook.py``, ``beside.py``.
Runtimes ask for nothing else; for the template they have steps of their own.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

Shapes = Sequence[tuple[int, int, int, int]]
"""Of latents: ``(B, C, h_d, w_d)`` for each level, finest first."""


class Comparison(Protocol):
    """Latents on one side, and all that is known of good parts on the other.

    Attributes:
        is_local: whether a part of the map follows from that part of the latents and, where means
            are taken off, from each channel's mean. Else tiles are put together before.
    """

    is_local: ClassVar[bool]

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``, finest first."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> "Comparison":
        """The same for latents of a type on a device."""
        ...

    def check(self, shapes: Shapes) -> None:
        """Refuse latents that cannot be compared.

        Raises:
            InputError: they have other sizes or channels than those that were trained on.
        """
        ...

    def working_floats(self, shapes: Shapes) -> int:
        """Floats that :meth:`map_of` takes at its peak, beside latents and map."""
        ...


def pixel_mean(x: Tensor) -> Tensor:
    """Mean over pixels: ``[B, C, h, w]`` to ``[B, C, 1, 1]``, in float32 at least."""
    return x.mean((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))


def without_mean(latents: Sequence[Tensor]) -> list[Tensor]:
    """Latents less each channel's mean over the pixels, levels ``[B, C, h_d, w_d]``."""
    return [z - pixel_mean(z) for z in latents]

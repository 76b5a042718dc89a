"""Small tensors that every operation can be tried with, on the CPU in float32."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Calls = list[tuple[Any, ...]]
"""Arguments of an operation, one tuple for each of its modes."""

BATCH, CHANNELS, HEIGHT, WIDTH = 2, 8, 13, 10
"""Size of a level: one odd side, so that the last row of a pyramid level has no neighbour."""

SIZE = (BATCH, CHANNELS, HEIGHT, WIDTH)
HALF = ((HEIGHT + 1) // 2, (WIDTH + 1) // 2)


class Samples:
    """Tensors of one draw: the same on every run."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def draw(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self._generator)

    def pixels(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Whole numbers from 0 to 255."""
        return torch.randint(0, 256, shape, generator=self._generator).to(dtype)

    @cached_property
    def level(self) -> Tensor:
        """``[B, C, H, W]``."""
        return self.draw(*SIZE)

    @cached_property
    def coarse(self) -> Tensor:
        """The level below: ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``."""
        return self.draw(BATCH, CHANNELS, *HALF)

    @cached_property
    def matrix(self) -> Tensor:
        """``[C, C]``."""
        return self.draw(CHANNELS, CHANNELS)

"""The last step of a runtime on a CPU: latents against what they are compared with."""

from collections.abc import Sequence
from functools import singledispatch
from typing import Protocol

import torch
from torch import Tensor

from pyramidflow.model import Comparison, Contrast
from pyramidflow.ops.anomaly_map.cpu import anomaly_level_into, pixel_means_into
from pyramidflow.ops.libraries.cpu import image_of
from pyramidflow.ops.pyramid.compiled import pyramid_merge_into
from pyramidflow.runtime.cpu.buffers import Buffers
from pyramidflow.runtime.cpu.views import TileOrigin, View, tile_view, whole_view


class MapStep(Protocol):
    """Latents in a runtime's memory to the map there.

    Attributes:
        normal_means: of the template over pixels, levels ``[C]`` in float64, where the step has to
            be told what to take off: of tiles. Else ``None``.
    """

    normal_means: Sequence[Tensor] | None

    def run(self) -> None:
        """Compare the latents that are there now."""
        ...

    def take_off(self, shift: Sequence[Tensor]) -> None:
        """Say what the next latents' channels are off as a whole: levels ``[B, C]``."""
        ...


class ComparisonStep:
    """A comparison as it is, of whole images.

    Args:
        comparison: any.
        buffers: whose levels are latents and whose first map becomes the map.
    """

    normal_means: Sequence[Tensor] | None = None

    def __init__(self, comparison: Comparison, buffers: Buffers) -> None:
        self._comparison = comparison.to(buffers.levels[0].device, torch.float32)
        self._buffers = buffers

    def run(self) -> None:
        """Latents to map."""
        self._buffers.maps[0][:, 0] = self._comparison.map_of(self._buffers.levels)

    def take_off(self, shift: Sequence[Tensor]) -> None:
        """Nothing: whole images tell their means themselves."""


class TemplateStep:
    """The contrast with a template; a run allocates nothing.

    Args:
        contrast: of whole images.
        buffers: whose levels are latents and whose first map becomes the map. A tile's part of
            template and spread is copied into their windows.
        origin: where in whole images the latents lie; ``None`` where they are whole.
    """

    def __init__(self, contrast: Contrast, buffers: Buffers, origin: TileOrigin | None) -> None:
        levels = self._levels = buffers.levels
        self._maps = buffers.maps
        rooms = [] if origin is None else list(buffers.windows())
        self._template = _views(contrast.template, origin, [first for first, _ in rooms])
        self._inverse_spread: list[View] | None = None
        if contrast.inverse_spread is not None:
            seconds = [second for _, second in rooms]
            self._inverse_spread = _views(contrast.inverse_spread, origin, seconds)
        self._shift: list[Tensor] | None = None
        self._own_means: list[Tensor] | None = None
        self.normal_means: Sequence[Tensor] | None = None
        if contrast.without_mean:
            self._shift = [torch.zeros(z.shape[:2]) for z in levels]
            means = [m[0, :, 0, 0] for m in contrast.template_means]
            if origin is None:
                self._own_means = [m[None].float() for m in means]
            else:  # only somebody who sees the whole image knows its means
                self.normal_means = means

    def take_off(self, shift: Sequence[Tensor]) -> None:
        """Say what the next latents' channels are off as a whole: levels ``[B, C]``."""
        assert self._shift is not None
        for own, given in zip(self._shift, shift, strict=True):
            own.copy_(given)

    def run(self) -> None:
        """Latents to map."""
        for d, (z, level) in enumerate(zip(self._levels, self._maps, strict=True)):
            spread = None if self._inverse_spread is None else self._inverse_spread[d]()
            operands = (self._template[d](), spread, self._shift_of(d, z))
            anomaly_level_into(z, *operands, level, image_of(z), 1, 0)
        for fine, coarse in zip(self._maps[-2::-1], self._maps[:0:-1], strict=True):
            pyramid_merge_into("cpu", coarse, fine, fine, image_of(fine))

    def _shift_of(self, d: int, z: Tensor) -> Tensor | None:
        if self._shift is None:
            return None
        shift = self._shift[d]
        if self._own_means is not None:
            pixel_means_into(z, shift, image_of(z))
            shift -= self._own_means[d]
        return shift


@singledispatch
def map_step(comparison: Comparison, buffers: Buffers, origin: TileOrigin | None) -> MapStep:
    """The last step of a runtime.

    Args:
        comparison: with what is normal.
        buffers: of the runtime.
        origin: where in whole images its latents lie; ``None`` where they are whole. What is not
            local must not be run there.
    """
    return ComparisonStep(comparison, buffers)


map_step.register(Contrast, TemplateStep)


def _views(levels: Sequence[Tensor], origin: TileOrigin | None, rooms: list[Tensor]) -> list[View]:
    if origin is None:
        return [whole_view(x.contiguous(memory_format=torch.channels_last)) for x in levels]
    windows = zip(levels, rooms, strict=True)
    return [tile_view(x, origin, level, room) for level, (x, room) in enumerate(windows)]

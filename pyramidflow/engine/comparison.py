"""The last step of an engine on a CPU: latents against what they are compared with."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pyramidflow.engine.window import Reader, Region, whole, window
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast, PyramidFlow
from pyramidflow.ops.compiled_cpu import Image, call


class Comparison:
    """Anomaly map of the latents that lie in an engine's memory; a run allocates nothing.

    Args:
        network: whose latents they are.
        contrast: of whole images.
        levels: latents ``[B, C, h_d, w_d]``, channels-last.
        maps: ``[B, 1, h_d, w_d]``; the first one becomes the map.
        region: where in whole images the latents lie; ``None`` where they are whole.
        windows: for each level room for the region's part of template and spread. They may share
            memory, as long as the two of one level and the first ones of all do not.
    """

    def __init__(
        self,
        network: PyramidFlow,
        contrast: Contrast,
        levels: Sequence[Tensor],
        maps: Sequence[Tensor],
        region: Region | None,
        windows: Iterable[tuple[Tensor, Tensor]],
    ) -> None:
        self._network, self._levels, self._maps = network, levels, maps
        rooms = [] if region is None else list(windows)
        self._template = _readers(contrast.template, region, [first for first, _ in rooms])
        self._inverse_spread: list[Reader] | None = None
        if contrast.inverse_spread is not None:
            seconds = [second for _, second in rooms]
            self._inverse_spread = _readers(contrast.inverse_spread, region, seconds)
        self._shift: list[Tensor] | None = None
        self._normal_means: list[Tensor] | None = None
        if contrast.without_mean:
            self._shift = [torch.zeros(z.shape[:2]) for z in levels]
            if region is None:  # of a part, only somebody who sees the whole knows the means
                self._normal_means = [m[:, :, 0, 0].float() for m in contrast.template_means]

    def take_off(self, shift: Sequence[Tensor]) -> None:
        """Say what the next latents' channels are off as a whole: levels ``[B, C]``."""
        assert self._shift is not None
        for own, given in zip(self._shift, shift, strict=True):
            own.copy_(given)

    def run(self) -> None:
        """Latents to map."""
        if not self._network.architecture.pyramid_difference:
            template = Contrast([read() for read in self._template])
            self._maps[0][:, 0] = self._network.contrast(self._levels, template)
            return
        for d, (z, level) in enumerate(zip(self._levels, self._maps, strict=True)):
            spread = None if self._inverse_spread is None else self._inverse_spread[d]()
            operands = (self._template[d](), spread, self._shift_of(d, z))
            call("anomaly_level", z, *operands, level, _image(z), 1)
        for fine, coarse in zip(self._maps[-2::-1], self._maps[:0:-1], strict=True):
            call("pyramid_merge", coarse, fine, fine, _image(fine))

    def _shift_of(self, d: int, z: Tensor) -> Tensor | None:
        if self._shift is None:
            return None
        shift = self._shift[d]
        if self._normal_means is not None:
            call("pixel_means", z, shift, _image(z))
            shift -= self._normal_means[d]
        return shift


def check_spread(contrast: Contrast) -> None:
    """Refuse a spread of another size than the template's."""
    for level, (normal, spread) in enumerate(
        zip(contrast.template, contrast.inverse_spread or (), strict=False)
    ):
        if spread.shape != normal.shape:
            raise InputError(
                f"level {level} of the inverse spread has shape {list(spread.shape)}, but the "
                f"template has {list(normal.shape)}: use a spread made at the same image size."
            )


def _readers(levels: Sequence[Tensor], region: Region | None, rooms: list[Tensor]) -> list[Reader]:
    if region is None:
        return [whole(x.contiguous(memory_format=torch.channels_last)) for x in levels]
    windows = zip(levels, rooms, strict=True)
    return [window(x, region, level, room) for level, (x, room) in enumerate(windows)]


def _image(x: Tensor) -> Image:
    return Image(*x.shape, not x.is_contiguous())

"""Comparison with the nearest of several templates, each of which may lie a little aside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.model.comparison import Shapes, pixel_mean
from pyramidflow.model.contrast import Contrast
from pyramidflow.variants import TemplatesBy


@dataclass(frozen=True, eq=False)
class NearestTemplate:
    """The smallest of the contrasts with ``K`` templates, what groups of images are on average.

    ``map = min_k map_k``, ``map_k`` being :class:`Contrast`'s with template ``k``: at each pixel,
    or the one whose mean over the image is the smallest. With a tolerance ``map_k`` is the smallest
    over shifts of the template, too: at each pixel of each level.

    Attributes:
        template: levels ``[K, C, h_d, w_d]``, finest first.
        inverse_spread: as :class:`Contrast`'s; one for all templates.
        without_mean: as :class:`Contrast`'s.
        by: where the smallest is looked for.
        tolerance: pixels of each level that a template may lie aside, see
            :func:`pyramidflow.ops.anomaly_map`.
    """

    template: Sequence[Tensor]
    inverse_spread: Sequence[Tensor] | None = None
    without_mean: bool = False
    by: TemplatesBy = "pixel"
    tolerance: int = 0

    is_local: ClassVar[bool] = False

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """With each template alone."""
        return [
            Contrast.of(
                [z[k : k + 1] for z in self.template], self.inverse_spread, self.without_mean
            )
            for k in range(len(self.template[0]))
        ]

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``."""
        means = [pixel_mean(z) for z in latents] if self.without_mean else None
        nearest: Tensor | None = None
        for contrast in self.contrasts:
            shift = contrast.shift_from(means)
            operands = (contrast.template, contrast.inverse_spread, shift, self.tolerance)
            found = ops.anomaly_map(latents, *operands)
            nearest = found if nearest is None else _NEARER[self.by](nearest, found)
        assert nearest is not None
        return nearest

    def to(self, device: torch.device, dtype: torch.dtype) -> "NearestTemplate":
        """The same for latents of a type on a device, channels-last as theirs are there."""
        all_of_them = Contrast(self.template, self.inverse_spread).to(device, dtype)
        return replace(
            self, template=all_of_them.template, inverse_spread=all_of_them.inverse_spread
        )

    def check(self, shapes: Shapes) -> None:
        """Refuse latents of other sizes, and a spread of another size than the templates'.

        Raises:
            InputError: there are some.
        """
        self.contrasts[0].check(shapes)

    def working_floats(self, shapes: Shapes) -> int:
        """Copies of what does not lie channels-last, and two maps with the levels below them."""
        copied = Contrast(self.template, self.inverse_spread).working_floats(shapes)
        batch, _, *size = shapes[0]
        return copied + 4 * batch * prod(size)


def _nearer_image(a: Tensor, b: Tensor) -> Tensor:
    """Of two maps ``[B, h, w]`` of each image the one with the smaller mean."""
    means = (x.mean((1, 2), keepdim=True) for x in (a, b))
    return torch.where(next(means) <= next(means), a, b)


_NEARER: dict[TemplatesBy, Callable[[Tensor, Tensor], Tensor]] = {
    "image": _nearer_image,
    "pixel": torch.minimum,
}

"""What the latents of an image are compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyramidflow import ops


@dataclass(frozen=True, eq=False)
class Contrast:
    """The template, and what real parts need beside it.

    ``δ(z_d) = |z_d − z̄_d − m_d| · w_d``, ``m_d`` being the mean over pixels of ``z_d − z̄_d`` for
    each channel where means are taken off, else 0. A change of light moves that mean most.

    What a pyramid adds below and to the right counts in the means like the image's own pixels: it
    is a copy of the border, which light moves alike, and few pixels; so a mean needs to know
    nothing but the latents.

    Attributes:
        template: ``z̄``, mean latents of whole images, levels ``[1, C, h_d, w_d]``, finest first.
        inverse_spread: ``w = 1/σ``, levels likewise; ``None`` for 1.
        without_mean: whether the means are taken off.
    """

    template: Sequence[Tensor]
    inverse_spread: Sequence[Tensor] | None = None
    without_mean: bool = False

    @classmethod
    def of(
        cls, template: Sequence[Tensor], inverse_spread: Sequence[Tensor] | None, without_mean: bool
    ) -> "Contrast":
        """The same where the spread may be each channel's alone, levels ``[1, C, 1, 1]``."""
        if inverse_spread is not None:
            pairs = zip(inverse_spread, template, strict=True)
            inverse_spread = [w.expand_as(z) for w, z in pairs]
        return cls(template, inverse_spread, without_mean)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but the template."""
        return self.inverse_spread is None and not self.without_mean

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Contrast":
        """The same with a change of every tensor, such as its device."""
        spread = self.inverse_spread
        return Contrast(
            [change(z) for z in self.template],
            None if spread is None else [change(w) for w in spread],
            self.without_mean,
        )

    def shift(self, latents: Sequence[Tensor]) -> list[Tensor] | None:
        """``m``, levels ``[B, C, 1, 1]`` in float32 at least; ``None`` where no mean is taken off.

        Args:
            latents: levels ``[B, C, h_d, w_d]``, finest first.
        """
        if not self.without_mean:
            return None
        means = [pixel_mean(z) for z in latents]
        pairs = zip(means, self.template_means, strict=True)
        return [mean - normal.to(mean.dtype) for mean, normal in pairs]

    @cached_property
    def template_means(self) -> list[Tensor]:
        """Means over pixels of the template, levels ``[1, C, 1, 1]`` in float64."""
        # In one order: the bits of a sum follow the order in memory.
        return [pixel_mean(z.double().contiguous()) for z in self.template]

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``."""
        return ops.anomaly_map(latents, self.template, self.inverse_spread, self.shift(latents))


def pixel_mean(x: Tensor) -> Tensor:
    """Mean over pixels: ``[B, C, h, w]`` to ``[B, C, 1, 1]``, in float32 at least."""
    return x.mean((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))

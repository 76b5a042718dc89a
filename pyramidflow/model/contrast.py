"""Comparison with a template: what the latents of training images are on average."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model.comparison import Shapes, pixel_mean
from pyramidflow.model.pyramid import InvertiblePyramid


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

    is_local: ClassVar[bool] = True

    @classmethod
    def of(
        cls, template: Sequence[Tensor], inverse_spread: Sequence[Tensor] | None, without_mean: bool
    ) -> "Contrast":
        """The same where the spread may be each channel's alone, levels ``[1, C, 1, 1]``."""
        if inverse_spread is not None:
            pairs = zip(inverse_spread, template, strict=True)
            inverse_spread = [w.expand_as(z) for w, z in pairs]
        return cls(template, inverse_spread, without_mean)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Contrast":
        """The same with a change of every tensor, such as its device."""
        spread = self.inverse_spread
        return Contrast(
            [change(z) for z in self.template],
            None if spread is None else [change(w) for w in spread],
            self.without_mean,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "Contrast":
        """The same for latents of a type on a device, channels-last as theirs are there."""
        return self.changed(_placed(device, dtype))

    def check(self, shapes: Shapes) -> None:
        """Refuse latents of other sizes, and a spread of another size than the template's.

        Raises:
            InputError: there are some.
        """
        _check_template(self.template, shapes)
        for level, (normal, spread) in enumerate(
            zip(self.template, self.inverse_spread or (), strict=False)
        ):
            if spread.shape != normal.shape:
                raise InputError(
                    f"level {level} of the inverse spread has shape {list(spread.shape)}, but the "
                    f"template has {list(normal.shape)}: use a spread made at the same image size."
                )

    def working_floats(self, shapes: Shapes) -> int:
        """Copies of what does not lie channels-last."""
        given = (*self.template, *(self.inverse_spread or ()))
        rows = (x for x in given if not x.is_contiguous(memory_format=torch.channels_last))
        return sum(x.numel() for x in rows)

    def shift(self, latents: Sequence[Tensor]) -> list[Tensor] | None:
        """``m``, levels ``[B, C, 1, 1]`` in float32 at least; ``None`` where no mean is taken off.

        Args:
            latents: levels ``[B, C, h_d, w_d]``, finest first.
        """
        return self.shift_from([pixel_mean(z) for z in latents] if self.without_mean else None)

    def shift_from(self, means: Sequence[Tensor] | None) -> list[Tensor] | None:
        """As :meth:`shift`, from the latents' means over pixels, levels ``[B, C, 1, 1]``."""
        if means is None:
            return None
        pairs = zip(means, self.template_means, strict=True)
        return [mean - normal.to(mean.dtype) for mean, normal in pairs]

    @cached_property
    def template_means(self) -> list[Tensor]:
        """Means over pixels of the template, levels ``[1, C, 1, 1]`` in float64."""
        # A plane at a time, for memory, and in one order: the bits of a sum follow the memory's.
        return [
            torch.stack([plane.double().contiguous().mean() for plane in z[0]])[None, :, None, None]
            for z in self.template
        ]

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``."""
        return ops.anomaly_map(latents, self.template, self.inverse_spread, self.shift(latents))

    def deviations(self, latents: Sequence[Tensor]) -> Iterator[Tensor]:
        """``√(mean over channels of δ(z_d)²)`` of one level after the other, ``[B, h_d, w_d]``.

        Args:
            latents: levels ``[B, C, h_d, w_d]``, finest first; the results are in float32 at least.
        """
        shift = self.shift(latents)
        for d, (z, normal) in enumerate(zip(latents, self.template, strict=True)):
            wide = torch.promote_types(z.dtype, torch.float32)
            differing = z.to(wide) - normal
            if shift is not None:
                differing -= shift[d]
            if self.inverse_spread is not None:
                differing *= self.inverse_spread[d]
            yield torch.linalg.vector_norm(differing, dim=1) / sqrt(z.shape[1])


@dataclass(frozen=True, eq=False)
class ComposedContrast:
    """The difference of whole feature maps: ``mean over channels of |compose(z) − compose(z̄)|``.

    Attributes:
        template: as :class:`Contrast`'s.

    Source: supplement table S1, row III (without pyramid difference).
    """

    template: Sequence[Tensor]

    is_local: ClassVar[bool] = False

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``."""
        normal = InvertiblePyramid.compose(self.template)
        return (InvertiblePyramid.compose(latents) - normal).abs().mean(1)

    def to(self, device: torch.device, dtype: torch.dtype) -> "ComposedContrast":
        """The same for latents of a type on a device."""
        change = _placed(device, dtype)
        return ComposedContrast([change(z) for z in self.template])

    def check(self, shapes: Shapes) -> None:
        """Refuse latents of other sizes.

        Raises:
            InputError: there are some.
        """
        _check_template(self.template, shapes)

    def working_floats(self, shapes: Shapes) -> int:
        """Both compositions, what the last of them is made of, and the difference with its sign."""
        batch, *finest = shapes[0]
        return (3 * batch + 2) * prod(finest)


def _placed(device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda x: x.detach().to(device, dtype).contiguous(memory_format=torch.channels_last)


def _check_template(template: Sequence[Tensor], shapes: Shapes) -> None:
    found, needed = [tuple(z.shape[2:]) for z in template], [shape[2:] for shape in shapes]
    if found != needed:
        raise InputError(
            f"the template has levels of {found}, but these images need {needed}: use a template "
            "made at the same image size."
        )

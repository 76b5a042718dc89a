"""Comparison with a codebook: latents of good parts, from wherever on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model.comparison import Shapes, without_mean
from pyramidflow.ops.nearest import working_floats

STRIDE = 8
"""Image pixels between the positions that are compared; coarser where the pyramid begins so."""

STRIDE_BESIDE_TEMPLATE = 32
"""Likewise where a template is compared with, too: what is fine is the template's, and what only a
large part of the image tells, such as uneven light, is the codebook's."""

UNKNOWN_STRIDE = 4
"""Image pixels between those of a feature map of an encoder that does not tell."""

NEIGHBOURHOOD = 3
"""Side in positions of the square that features are averaged over."""


def features_of(latents: Sequence[Tensor], level: int) -> Tensor:
    """What positions are compared by: all channels of all levels, in one resolution.

    Finer levels are averaged over the cells of ``level``, coarser ones interpolated; then a mean
    over 3×3 positions, fewer at the border.

    Args:
        latents: levels ``[B, C, h_d, w_d]``, finest first.
        level: whose resolution it is.

    Returns:
        ``[B, h·w, L·C]``, in float32 at least.
    """
    size = latents[level].shape[2:]
    parts = []
    for d, z in enumerate(latents):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        if d < level:
            z = functional.avg_pool2d(z, 2 ** (level - d))
        elif d > level:
            z = functional.interpolate(z, size, mode="bilinear", align_corners=False)
        parts.append(z)
    x = torch.cat(parts, 1)  # [B, L·C, h, w]
    around = NEIGHBOURHOOD // 2
    x = functional.avg_pool2d(x, NEIGHBOURHOOD, 1, around, count_include_pad=False)
    return x.flatten(2).transpose(1, 2)  # [B, h·w, L·C]


def level_of(stride: int | None, levels: int, beside_template: bool) -> int:
    """The pyramid's level whose positions are compared, the coarsest where none is coarse enough.

    Args:
        stride: image pixels between those of the finest level; ``None`` where nobody knows.
        levels: of the pyramid.
        beside_template: whether a template is compared with, too.
    """
    wanted = STRIDE_BESIDE_TEMPLATE if beside_template else STRIDE
    level, at = 0, stride or UNKNOWN_STRIDE
    while at < wanted and level < levels - 1:
        level, at = level + 1, 2 * at
    return level


@dataclass(frozen=True, eq=False)
class Codebook:
    """Features of positions of training images; a position is as far off as from the nearest one.

    ``map = U(… U(√(min_n ‖(f − f̄)·w − e_n‖² / F)))``, ``f`` from :func:`features_of`, ``U`` the
    pyramid's up-sampling, once for each level below.

    Attributes:
        entries: ``e [N, F]``, of features already standardised.
        mean: ``f̄ [F]``, of the training images.
        inverse_spread: ``w = 1/σ [F]``, likewise; one ``σ`` for all features, but in older files.
        level: of the pyramid whose positions are compared.
        without_mean: whether each channel's mean over the image is taken off the latents before.

    Source: PatchCore (Roth et al., CVPR 2022), on the flow's latents in place of an encoder's
    features.
    """

    entries: Tensor
    mean: Tensor
    inverse_spread: Tensor
    level: int
    without_mean: bool = False

    is_local: ClassVar[bool] = False

    @property
    def tensors(self) -> dict[str, Tensor]:
        """By the names of their attributes."""
        return {"entries": self.entries, "mean": self.mean, "inverse_spread": self.inverse_spread}

    @cached_property
    def _search(self) -> ops.NearestSearch:
        return ops.NearestSearch(self.entries)

    def distances(self, latents: Sequence[Tensor]) -> Tensor:
        """From the nearest entry, at each position: ``[B, 1, h, w]``, in float32 at least."""
        if self.without_mean:
            latents = without_mean(latents)
        features = features_of(latents, self.level)  # [B, h·w, F]
        standardised = (features - self.mean) * self.inverse_spread
        found = self._search.distance(standardised.flatten(0, 1))
        return found.view(-1, 1, *latents[self.level].shape[2:])

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``, in float32 at least."""
        composed = self.distances(latents)
        for fine in reversed(latents[: self.level]):
            residual = composed.new_zeros((len(composed), 1, *fine.shape[2:]))
            composed = ops.pyramid_merge(composed, residual)
        return composed[:, 0]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Codebook":
        """The same on a device; in float32 at least, as differences of large sums are taken."""
        wide = torch.promote_types(dtype, torch.float32)
        tensors = {name: x.detach().to(device, wide) for name, x in self.tensors.items()}
        return Codebook(**tensors, level=self.level, without_mean=self.without_mean)

    def check(self, shapes: Shapes) -> None:
        """Refuse latents of other channels or levels.

        Raises:
            InputError: there are some.
        """
        features = sum(shape[1] for shape in shapes)
        if self.entries.shape[1] != features:
            raise InputError(
                f"the codebook has entries of {self.entries.shape[1]} features, but these latents "
                f"give {features}: use a codebook of the same network."
            )

    def working_floats(self, shapes: Shapes) -> int:
        """Features three times over, what finds the nearest, and levels of one channel."""
        batch, _, *size = shapes[self.level]
        features = batch * prod(size) * len(self.mean)
        latents = sum(prod(shape) for shape in shapes) if self.without_mean else 0
        found = working_floats(*self.entries.shape)
        return 3 * features + latents + found + 2 * batch * prod(shapes[0][2:])

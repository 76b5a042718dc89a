"""What the levels of the pyramid agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.model.comparison import Shapes
from pyramidflow.model.contrast import Contrast


@dataclass(frozen=True, eq=False)
class AgreeingLevels:
    """A defect shows in each level: the template's map, and the product of the levels beside it.

    ``map = √(S · Π_d I(r_d)^{w_d})``, ``S`` being the template's map, ``r_d = √(mean over channels
    of δ(z_d)²)`` with the template's contrast ``δ``, and ``I`` bilinear interpolation to the finest
    level. ``w_d`` is the level's share: the coarsest one, which stands for all that is coarser,
    counts twice. So what surrounds a defect in the coarse levels alone, and what is noise in a fine
    one alone, counts less.

    Attributes:
        contrast: the comparison with the template.

    Source: the product of the levels is that of STFPM (Wang et al., BMVC 2021), there of teacher
    and student; the shares and the mean with the composed map are our own. What the whole finds is
    in ``benchmarks/results/quality_kolektorsdd_lite0.md`` and ``…_fusion.md``.
    """

    contrast: Contrast

    is_local: ClassVar[bool] = False

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``, in float32 at least."""
        composed = self.contrast.map_of(latents)
        size, weights = composed.shape[1:], _weights(len(latents))
        wide = torch.promote_types(composed.dtype, torch.float32)
        # Of zeros the logarithm is -∞, and its exponential 0 again.
        logarithm = composed.to(wide).clamp_min(0).log_()
        for each, weight in zip(self.contrast.deviations(latents), weights, strict=True):
            level = functional.interpolate(each[:, None], size, mode="bilinear")[:, 0]
            logarithm.add_(level.log_(), alpha=weight)
        return logarithm.div_(2).exp_()

    def to(self, device: torch.device, dtype: torch.dtype) -> "AgreeingLevels":
        """The same for latents of a type on a device."""
        return AgreeingLevels(self.contrast.to(device, dtype))

    def check(self, shapes: Shapes) -> None:
        """Refuse latents of other sizes.

        Raises:
            InputError: there are some.
        """
        self.contrast.check(shapes)

    def working_floats(self, shapes: Shapes) -> int:
        """The differences of the finest level, and three maps."""
        batch, *finest = shapes[0]
        maps = 3 * batch * prod(finest[1:])
        return self.contrast.working_floats(shapes) + batch * prod(finest) + maps


def _weights(levels: int) -> list[float]:
    share = 1 / (levels + 1)
    return [share] * (levels - 1) + [2 * share]

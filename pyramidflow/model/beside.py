"""A template and a codebook beside one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.model.codebook import Codebook
from pyramidflow.model.comparison import Comparison, Shapes


@dataclass(frozen=True, eq=False)
class BesideTemplate:
    """What is far off from both: ``map = √(map_template · I(distances_codebook))``.

    The geometric mean needs no common scale. The template's map tells small defects from what is
    around them; the codebook forgives what lies elsewhere than on other good parts. ``I`` is
    bilinear: the pyramid's up-sampling fades at the border, and from a coarse level it would hide
    the defects there.

    Attributes:
        template: the comparison at each pixel.
        codebook: the comparison with positions from anywhere.
    """

    template: Comparison
    codebook: Codebook

    is_local: ClassVar[bool] = False

    def map_of(self, latents: Sequence[Tensor]) -> Tensor:
        """Anomaly map ``[B, h_0, w_0]`` of latents ``[B, C, h_d, w_d]``, in float32 at least."""
        differing = self.template.map_of(latents)
        wide = torch.promote_types(differing.dtype, torch.float32)
        # Roots first: of the product of two small numbers nothing may be left.
        far = functional.interpolate(
            self.codebook.distances(latents), differing.shape[1:], mode="bilinear"
        )[:, 0]
        return differing.to(wide).clamp_min(0).sqrt() * far.sqrt()

    def to(self, device: torch.device, dtype: torch.dtype) -> "BesideTemplate":
        """The same for latents of a type on a device."""
        return BesideTemplate(self.template.to(device, dtype), self.codebook.to(device, dtype))

    def check(self, shapes: Shapes) -> None:
        """Refuse latents that one of them cannot be compared with.

        Raises:
            InputError: there are some.
        """
        self.template.check(shapes)
        self.codebook.check(shapes)

    def working_floats(self, shapes: Shapes) -> int:
        """As the larger of the two takes, beside both maps and their product."""
        batch, _, *size = shapes[0]
        parts = (self.template, self.codebook)
        return max(part.working_floats(shapes) for part in parts) + 3 * batch * prod(size)

"""Training losses: the Fourier contrast of pairs, and what its ablations replace it by."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, get_args

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.model import InvertiblePyramid
from pyramidflow.ops.allocation import dense
from pyramidflow.spec import Ablation

HALF_LOG_TWO_PI = 0.9189385332046727

ABLATIONS = get_args(Ablation)
"""What ``--without`` takes away: rows I to IV of tables S1 and S2."""


class Network(Protocol):
    """What a loss asks of a network: see the methods of :class:`pyramidflow.model.PyramidFlow`."""

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Latents of a batch."""

    def forward_with_log_det(self, image: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Latents and log-determinants of a batch."""


@dataclass(frozen=True)
class ContrastLoss:
    """Difference between the latents of good images, in the frequency domain.

    For every pair ``i < j`` of the batch ``Δ_d = |z_d^(i) − z_d^(j)|²``; the loss is
    ``mean |FFT2(mean over channels of compose(Δ))|`` over pairs and frequencies. Composition is
    linear and acts on each channel alone, so the mean over channels is taken before it.

    Attributes:
        template: ``False`` contrasts each image with zero instead of its partner (ablation II).
        pyramid_difference: ``False`` composes the latents before the difference (ablation III).
        fourier: ``False`` takes the spatial mean instead of the spectrum's (ablation IV).

    Source: paper section 3.4, Fourier loss; supplement tables S1 and S2.
    """

    template: bool = True
    pyramid_difference: bool = True
    fourier: bool = True

    def __call__(self, model: Network, image: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            model: the network.
            image: normalised good images, ``[B, 3, H, W]``, ``B ≥ 2`` where pairs are contrasted.

        Returns:
            A scalar.

        Raises:
            InputError: the batch has no pair.
        """
        return self.of_latents(model(image))

    def of_latents(self, latents: Sequence[Tensor]) -> Tensor:
        """Loss of latents ``[B, C, h_d, w_d]``, finest first."""
        if not self.pyramid_difference:
            latents = (InvertiblePyramid.compose(latents),)
        levels = [
            self._squared_difference(z).mean(1, keepdim=True)  # [P, 1, h_d, w_d]
            for z in latents
        ]
        difference = InvertiblePyramid.compose(levels).squeeze(1)  # [P, h, w]
        if not self.fourier:
            return difference.mean()
        spectrum: Tensor = torch.fft.fft2(difference)
        return spectrum.abs().mean()

    def _squared_difference(self, z: Tensor) -> Tensor:
        if not self.template:
            return z.square()  # [B, C, h, w]
        if len(z) < 2:
            raise InputError(
                f"the batch holds {len(z)} image, but pairs are contrasted: use a batch size of at "
                "least 2."
            )
        first, second = zip(*combinations(range(len(z)), 2), strict=True)
        return (_chosen(z, first) - _chosen(z, second)).square()  # [P, C, h, w]


def _chosen(z: Tensor, places: Sequence[int]) -> Tensor:
    """``z[places]``, on a processor with a gradient that depends on no thread.

    There several threads add up that of ``z[places]`` in the order in which they come. On a GPU it
    is that of ``index_select`` whose order is left open.
    """
    if z.device.type != "cpu":
        return z[list(places)]
    return dense(z.index_select(0, torch.tensor(places)), like=z)


@dataclass(frozen=True)
class LikelihoodLoss:
    """Gaussian negative log-likelihood per latent dimension (ablation I).

    ``(½ Σ z² + ½ n log 2π − logdet) / n`` with ``n`` the latent's dimensions, averaged over the
    batch.

    Source: supplement tables S1 and S2, row I.
    """

    def __call__(self, model: Network, image: Tensor) -> Tensor:
        """Loss of a batch of normalised good images ``[B, 3, H, W]``: a scalar."""
        latents, log_det = model.forward_with_log_det(image)
        dimensions = sum(z[0].numel() for z in latents)
        energy = torch.stack([z.square().sum((1, 2, 3)) for z in latents]).sum(0)  # [B]
        return (0.5 * energy - log_det).mean() / dimensions + HALF_LOG_TWO_PI


Loss = ContrastLoss | LikelihoodLoss


def choose_loss(without: Sequence[str]) -> Loss:
    """Loss of a training that leaves the named parts out.

    Args:
        without: names from :data:`ABLATIONS`.

    Raises:
        InputError: a name is unknown.
    """
    for name in without:
        if name not in ABLATIONS:
            raise InputError(f"cannot train without {name!r}: choose from {', '.join(ABLATIONS)}.")
    if "volume-norm" in without:
        return LikelihoodLoss()
    return ContrastLoss(
        template="template" not in without,
        pyramid_difference="pyramid-difference" not in without,
        fourier="fourier-loss" not in without,
    )

"""Pyramid coupling blocks: volume normalisation, affine parameters, invertible mixing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model.drawing import drawing_device
from pyramidflow.model.shared_mean import Add, shared_mean
from pyramidflow.model.topology import BlockTopology

Pyramid = tuple[Tensor, ...]

LEAKY_SLOPE = 0.01
"""Slope of the affine-parameter networks' leaky ReLU below zero."""


class VolumeNorm2d(nn.Module):
    """Running mean of the log-scale, for volume normalisation.

    Training: ``running = (1 − β) · running + β · mean``; evaluation subtracts ``running``. The
    buffer starts as one zero and takes its shape from the first mean: ``[1, 1, h, w]`` for CVN (so
    a trained CVN model is tied to its feature size), ``[1, C, 1, 1]`` for SVN. It never carries a
    graph.

    Args:
        kind: ``"cvn"``, ``"svn"`` or ``"none"``.
        statistics: ``"sample"`` (Algorithm 2) or ``"batch"`` (the released code).
        momentum: ``β``.

    Attributes:
        add: sums over the processes that share a batch; ``None`` where this one has all of it.

    Source: supplement, Algorithm 2.
    """

    running_mean: Tensor
    add: Add | None = None

    def __init__(
        self,
        kind: ops.VolumeNormKind,
        statistics: ops.Statistics = "sample",
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.statistics = statistics
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(1, 1, 1, 1))

    @property
    def mode(self) -> ops.CouplingMode:
        """What a coupling is told of the normalisation."""
        return ops.CouplingMode(self.kind, self.statistics)

    def mean(self) -> Tensor | None:
        """What the coupling subtracts: the running mean, or ``None`` for the sample's own."""
        return None if self.training and self.kind != "none" else self.running_mean

    def shared(self, params: Tensor, mean: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Parameters and mean to couple with, where processes share a batch and its statistics.

        Args:
            params: ``[B, 2C, h, w]``.
            mean: of :meth:`mean`; one that is there stays.
        """
        if mean is not None or self.add is None or self.statistics != "batch":
            return params, mean
        return shared_mean(params, self.kind, self.add)

    @torch.no_grad()
    def update(self, mean: Tensor) -> None:
        """Move the running mean towards a training step's mean (averaged over its samples)."""
        if self.kind == "none":
            return
        if not len(mean):  # no sample moves it, but it takes its shape
            self.running_mean = self.running_mean.expand(1, *mean.shape[1:]).clone()
            return
        step = mean.mean(0, keepdim=True)  # [1, 1, h, w] or [1, C, 1, 1]
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * step

    def _load_from_state_dict(self, state_dict, prefix, *args):  # type: ignore[no-untyped-def]
        stored = state_dict.get(prefix + "running_mean")
        if stored is not None and stored.shape != self.running_mean.shape:
            self.running_mean = self.running_mean.new_zeros(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)


class AffineParams(nn.Module):
    """Network that gives ``s0, t`` from the neighbouring levels.

    ``conv k×k → LeakyReLU(0.01) → conv k×k``, no biases, the last one zero-initialised so that a
    fresh block only mixes channels.

    Args:
        condition_channels: channels of the condition, ``C`` or ``2C``.
        channels: ``C``; the hidden width and the output have ``2C`` channels.
        kernel_size: odd ``k``.

    Source: supplement, Algorithm 1 (``AffineParamBlock``).
    """

    def __init__(self, condition_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        width = 2 * channels
        self.conv1 = nn.Conv2d(condition_channels, width, kernel_size, padding=padding, bias=False)
        self.conv2 = nn.Conv2d(width, width, kernel_size, padding=padding, bias=False)
        nn.init.zeros_(self.conv2.weight)
        self.activation = nn.LeakyReLU(LEAKY_SLOPE)

    def __call__(self, condition: Tensor, resample: ops.Resampling = "none") -> Tensor:
        """See :meth:`forward`."""
        params: Tensor = super().__call__(condition, resample)
        return params

    def forward(self, condition: Tensor, resample: ops.Resampling = "none") -> Tensor:
        """Map ``[B, C or 2C, h, w]`` to ``[B, 2C, h, w]``.

        Args:
            condition: channels-last for speed.
            resample: ``"up"`` for a condition that is to be up-sampled by 2 first.
        """
        hidden = ops.conv2d(condition, self.conv1.weight, resample)  # [B, 2C, h, w]
        return ops.conv2d(self.activation(hidden), self.conv2.weight)  # [B, 2C, h, w]


class InvertibleConv1x1(nn.Module):
    """Invertible mixing of channels by an LU-decomposed matrix.

    ``A = P L (U + diag(sign · exp(s̃)))`` with ``s̃ = s − mean(s)`` (volume normalisation, so that
    ``|det A| = 1``), initialised from a random orthogonal matrix; ``P`` and ``sign`` stay as they
    are, ``L`` is unit lower and ``U`` strictly upper triangular.

    Args:
        channels: ``C``.
        volume_norm: whether ``mean(s)`` is subtracted.

    Source: supplement, Algorithm 1 (``InvConv``).
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, volume_norm: bool = True) -> None:
        super().__init__()
        self.volume_norm = volume_norm
        permutation, sign, lower, upper, log_diagonal = _random_factors(channels)
        device = torch.get_default_device()
        self.register_buffer("permutation", permutation.to(device))
        self.register_buffer("sign", sign.to(device))
        self.lower = nn.Parameter(lower.to(device))
        self.upper = nn.Parameter(upper.to(device))
        self.log_diagonal = nn.Parameter(log_diagonal.to(device))

    def _log_diagonal(self, dtype: torch.dtype) -> Tensor:
        log_diagonal = self.log_diagonal.to(dtype)
        return log_diagonal - log_diagonal.mean() if self.volume_norm else log_diagonal

    def weight(self) -> Tensor:
        """The matrix ``A [C, C]``."""
        identity = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        lower = self.lower.tril(-1) + identity
        scale = self.sign * self._log_diagonal(self.lower.dtype).exp()
        upper = self.upper.triu(1) + torch.diag(scale)
        return self.permutation @ lower @ upper

    def log_det(self, y: Tensor) -> Tensor:
        """``h · w · Σ s̃``, the same for every sample: a scalar, float32 or wider."""
        # A sum over pixels leaves float16's range.
        dtype = torch.promote_types(y.dtype, torch.float32)
        return self._log_diagonal(dtype).sum() * (y.shape[-2] * y.shape[-1])

    def forward(self, y: Tensor) -> Tensor:
        """``z = A y`` at every pixel of ``[B, C, h, w]``."""
        return ops.invertible_conv1x1(y, self.weight())

    def inverse(self, z: Tensor) -> Tensor:
        """``y = A⁻¹ z``; the matrix is inverted in float64.

        Raises:
            InputError: the matrix has no inverse.
        """
        try:
            inverse = torch.linalg.inv(self.weight().double()).to(z.dtype)
        except RuntimeError as error:
            raise InputError(
                "the matrix of a 1×1 convolution has no inverse: its weights are not those of a "
                "training; train again, or copy the detector's file anew."
            ) from error
        return ops.invertible_conv1x1(z, inverse)


def _random_factors(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``P``, ``sign``, ``L - I``, ``U`` above its diagonal, and the logarithm of the diagonal."""
    device = drawing_device()
    orthogonal = nn.init.orthogonal_(torch.empty(channels, channels, device=device))
    if device.type == "meta":
        row = torch.empty(channels, device=device)
        return orthogonal, row, orthogonal, orthogonal, row
    permutation, lower, upper = torch.linalg.lu(orthogonal)
    diagonal = upper.diagonal()
    return (
        permutation.contiguous(),
        diagonal.sign(),
        lower.tril(-1).contiguous(),
        upper.triu(1).contiguous(),
        diagonal.abs().log(),
    )


class CouplingBlock(nn.Module):
    """Transform one level of a pyramid, conditioned on its neighbours.

    ``s, t = AffineParams(condition)``, ``y = exp(VolumeNorm(softclamp(s))) ⊙ x + t``, ``z = A y``.
    The condition is not changed, so the block inverts exactly.

    Args:
        topology: which levels are the condition, and which one is transformed.
        channels: ``C``.
        kernel_size: odd ``k``.
        volume_norm: ``"cvn"``, ``"svn"`` or ``"none"``.
        statistics: ``"sample"`` or ``"batch"``.

    Source: supplement, Algorithm 1; paper figure 3(c), 3(d).
    """

    def __init__(
        self,
        topology: BlockTopology,
        channels: int,
        kernel_size: int,
        volume_norm: ops.VolumeNormKind,
        statistics: ops.Statistics = "sample",
    ) -> None:
        super().__init__()
        self.topology = topology
        self.affine_params = AffineParams(len(topology.reads) * channels, channels, kernel_size)
        self.volume_norm = VolumeNorm2d(volume_norm, statistics)
        self.conv1x1 = InvertibleConv1x1(channels, volume_norm=volume_norm != "none")

    def params(self, pyramid: Sequence[Tensor]) -> Tensor:
        """``s0`` and ``t [B, 2C, h', w']`` at the topology's level, from the levels it reads.

        Args:
            pyramid: levels ``[B, C, h_d, w_d]``, finest first.
        """
        size = pyramid[self.topology.at].shape[-2:]
        conditions = [pyramid[level] for level in self.topology.reads]
        if self.topology.condition_resample == "up":
            (coarse,) = conditions
            if size == (2 * coarse.shape[-2], 2 * coarse.shape[-1]):
                return self.affine_params(coarse, "up")
        resized = [
            x if x.shape[-2:] == size else functional.interpolate(x, size=size, mode="nearest")
            for x in conditions
        ]
        condition = resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)
        return self.affine_params(condition)  # of [B, C or 2C, h', w']

    def mean_shape(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape of a trained running mean.

        Args:
            size: ``(h, w)`` of the finest level.
        """
        if self.volume_norm.kind == "svn":
            return 1, len(self.conv1x1.sign), 1, 1
        if self.volume_norm.kind == "none":
            return 1, 1, 1, 1
        return 1, 1, size[0] >> self.topology.at, size[1] >> self.topology.at

    def forward(self, pyramid: Pyramid) -> Pyramid:
        """Transform the block's level.

        Args:
            pyramid: levels ``[B, C, h_d, w_d]``, finest first.

        Returns:
            The pyramid with one level replaced.
        """
        return self._forward(pyramid, with_log_det=False)[0]

    def forward_with_log_det(self, pyramid: Pyramid) -> tuple[Pyramid, Tensor]:
        """Transform the block's level, with the log-determinant of each sample ``[B]``."""
        pyramid, of_coupling = self._forward(pyramid, with_log_det=True)
        return pyramid, of_coupling + self.conv1x1.log_det(pyramid[self.topology.writes])

    def inverse(self, pyramid: Pyramid) -> Pyramid:
        """Undo :meth:`forward`."""
        return self._inverse(pyramid, with_log_det=False)[0]

    def inverse_with_log_det(self, pyramid: Pyramid) -> tuple[Pyramid, Tensor]:
        """Undo :meth:`forward`; the log-determinant is that of the inverse (negated)."""
        pyramid, of_coupling = self._inverse(pyramid, with_log_det=True)
        return pyramid, of_coupling - self.conv1x1.log_det(pyramid[self.topology.writes])

    def couple(
        self, x: Tensor, params: Tensor, mean: Tensor | None, with_log_det: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Transform the level by parameters that are there already.

        Args:
            x: the level ``[B, C, h, w]``.
            params: of :meth:`params`.
            mean: of :meth:`VolumeNorm2d.mean`.
            with_log_det: whether the log-determinant is computed; else it has no elements.

        Returns:
            ``z [B, C, h, w]``, the subtracted mean, and the log-determinant of each sample ``[B]``
            without that of the 1×1 convolution.
        """
        mode = self.volume_norm.mode._replace(with_log_det=with_log_det)
        return ops.coupling_conv1x1(x, params, self.conv1x1.weight(), mean, mode)

    def uncouple(
        self, z: Tensor, params: Tensor, mean: Tensor | None, with_log_det: bool
    ) -> tuple[Tensor, Tensor]:
        """Undo :meth:`couple`; the log-determinant is that of the inverse."""
        y = self.conv1x1.inverse(z)
        mode = self.volume_norm.mode._replace(with_log_det=with_log_det)
        return ops.affine_coupling_inverse(y, params, mean, mode)

    def _forward(self, pyramid: Pyramid, with_log_det: bool) -> tuple[Pyramid, Tensor]:
        norm = self.volume_norm
        params, given = norm.shared(self.params(pyramid), norm.mean())  # [B, 2C, h', w']
        level = pyramid[self.topology.writes]
        z, mean, log_det = self.couple(level, params, given, with_log_det)
        if self.training:
            norm.update(mean)
        return self._replace(pyramid, z), log_det

    def _inverse(self, pyramid: Pyramid, with_log_det: bool) -> tuple[Pyramid, Tensor]:
        params = self.params(pyramid)  # [B, 2C, h', w']
        level, mean = pyramid[self.topology.writes], self.volume_norm.mean()
        x, log_det = self.uncouple(level, params, mean, with_log_det)
        return self._replace(pyramid, x), log_det

    def _replace(self, pyramid: Pyramid, level: Tensor) -> Pyramid:
        at = self.topology.writes
        return (*pyramid[:at], level, *pyramid[at + 1 :])

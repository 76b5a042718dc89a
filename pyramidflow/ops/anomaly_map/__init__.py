"""Latents to the anomaly map: their contrast with the template, composed."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from pyramidflow.ops.anomaly_map import schema
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted

__all__ = ["anomaly_map"]


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    """Contrast a latent pyramid with its template in full resolution.

    ``map = mean over channels of compose(|z_d − z̄_d − m_d| · w_d)``. Composition is linear and
    acts on each channel alone, so the mean is taken first and one channel is composed.

    With a tolerance ``r`` a pixel ``p`` is compared with the template at all ``p + s`` of its level
    that are at most ``r`` rows and columns away, and the least contrast counts:
    ``δ_d(p) = min_s mean over channels of |z_d(p) − z̄_d(p + s) − m_d| · w_d(p + s)``.

    Args:
        latents: levels ``[B, C, h_d, w_d]``, finest first.
        template: ``z̄``, levels ``[1 or B, C, h_d, w_d]``, finest first.
        inverse_spread: ``w = 1/σ``, levels ``[1, C, h_d, w_d]``; ``None`` for 1.
        shift: ``m``, levels ``[B, C, 1, 1]`` of any floating type, what each image's channels are
            off as a whole; ``None`` for 0.
        tolerance: ``r``, 0 to 3 pixels of each level.

    Returns:
        ``[B, h_0, w_0]``. There is a derivative where neither ``inverse_spread`` nor ``shift`` nor
        a tolerance is given.

    Raises:
        InputError: the latents are not neighbouring levels of one pyramid, another operand
            differs from them in levels, sizes or device, the tolerance is out of its range, or a
            derivative is asked for that is not there.

    Source: paper section 3.4; supplement section 1.2 for the composition.
    """
    schema.check_anomaly_map(Compared(latents, template, inverse_spread, shift, tolerance))
    tensors = promoted(*latents, *template, *(inverse_spread or ()))
    levels = len(latents)
    parts = [tensors[i * levels : (i + 1) * levels] for i in range(3)]
    weights = None if inverse_spread is None else parts[2]
    return cast(Tensor, NAMESPACE_OPS.anomaly_map(parts[0], parts[1], weights, shift, tolerance))

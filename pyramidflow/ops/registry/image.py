"""Rows of the two ends: camera pixels to network input, latents to the anomaly map."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation
from pyramidflow.ops.checks import image as checks
from pyramidflow.ops.registry.op import NAMESPACE_OPS, Op, empty_like


def _fake_normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    batch, height, width, channels = image.shape
    return torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)


def _fake_anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    batch, _, height, width = latents[0].shape
    return allocation.empty((batch, height, width), like=latents[0])


def _fake_anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    return [empty_like(z) for z in latents]


def _save_anomaly_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    latents, template, inverse_spread, shift, tolerance = inputs
    ctx.levels = len(latents)
    ctx.is_plain = inverse_spread is None and shift is None and tolerance == 0
    ctx.save_for_backward(*latents, *template)


def _anomaly_map_backward(ctx: Any, grad_map: Tensor) -> tuple[Any, ...]:
    if not ctx.is_plain:
        raise InputError(
            "anomaly_map has no derivative with inverse_spread, shift or tolerance: they are for "
            "inspection; leave them out to train."
        )
    latents, template = ctx.saved_tensors[: ctx.levels], ctx.saved_tensors[ctx.levels :]
    grads = NAMESPACE_OPS.anomaly_map_backward(grad_map, latents, template)
    grads_template = [
        -(grad.sum(0, keepdim=True) if len(mean) == 1 else grad)
        for grad, mean in zip(grads, template, strict=True)
    ]
    return grads, grads_template, None, None, None


OPS = (
    Op(
        "normalize_image(Tensor image, Tensor mean, Tensor std, ScalarType dtype) -> Tensor",
        check=checks.normalize_image,
        apart=("mean", "std"),
        fake=_fake_normalize_image,
    ),
    Op(
        "anomaly_map(Tensor[] latents, Tensor[] template, Tensor[]? inverse_spread,"
        " Tensor[]? shift, int tolerance=0) -> Tensor",
        check=checks.anomaly_map,
        apart=("shift",),
        fake=_fake_anomaly_map,
        save=_save_anomaly_map,
        backward=_anomaly_map_backward,
    ),
    Op(
        "anomaly_map_backward(Tensor grad_map, Tensor[] latents, Tensor[] template) -> Tensor[]",
        check=checks.anomaly_map_backward,
        fake=_fake_anomaly_map_backward,
    ),
)

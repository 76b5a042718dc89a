"""The anomaly map's operations."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pyramidflow.errors import InputError, shown
from pyramidflow.ops import allocation
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.checks import check_level, check_operands, check_shape, half
from pyramidflow.ops.op import NAMESPACE_OPS, Op, empty_like, register
from pyramidflow.ops.samples import BATCH, CHANNELS, HEIGHT, WIDTH, Calls, Samples

MOST_TOLERANCE = 3
"""Pixels of a level: time grows with the square."""


def check_anomaly_map(compared: Compared) -> None:
    """Of a pyramid of latents, its template, and what else it is compared with."""
    latents, template, inverse_spread, shift, tolerance = compared
    if not isinstance(tolerance, int) or not 0 <= tolerance <= MOST_TOLERANCE:
        raise InputError(
            f"tolerance is {shown(tolerance)}: give a whole number from 0 to {MOST_TOLERANCE}."
        )
    pyramids = {"latents": latents, "template": template}
    optional = {"inverse spread": inverse_spread, "shift": shift}
    pyramids.update({name: levels for name, levels in optional.items() if levels is not None})
    for name, levels in pyramids.items():
        if not isinstance(levels, (list, tuple)):
            raise InputError(
                f"{name} is of type {type(levels).__name__}: give a list of levels, finest first."
            )
        if len(latents) != len(levels) or not latents:
            raise InputError(
                f"the latent pyramid has {len(latents)} levels and the {name} {len(levels)}: "
                "both need the same number, one at least."
            )
    check_operands(
        **{
            f"level {d} of the {name}": x
            for name, levels in pyramids.items()
            for d, x in enumerate(levels)
        }
    )
    for level, z in enumerate(latents):
        name = f"level {level} of the latents"
        check_level(name, z)
        if level > 0:
            finer = latents[level - 1].shape
            expected = (*finer[:2], *half(finer[2:]))
            check_shape(name, z, expected, f"level {level - 1}", finer)
        _check_template(level, template[level], z)
        if inverse_spread is not None:
            operand, size = f"level {level} of the inverse spread", (1, *z.shape[1:])
            check_shape(operand, inverse_spread[level], size, name, z.shape)
        if shift is not None:
            operand, size = f"level {level} of the shift", (*z.shape[:2], 1, 1)
            check_shape(operand, shift[level], size, name, z.shape)


def check_anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> None:
    """Of a map's gradient, a pyramid of latents and its template."""
    check_anomaly_map(Compared(latents, template))
    check_operands(grad_map=grad_map, latents=latents[0])
    batch, _, height, width = latents[0].shape
    size = (batch, height, width)
    check_shape("grad_map", grad_map, size, "level 0 of the latents", latents[0].shape)


def _check_template(level: int, mean: Tensor, z: Tensor) -> None:
    if mean.dim() != 4 or mean.shape[1:] != z.shape[1:] or mean.shape[0] not in (1, z.shape[0]):
        raise InputError(
            f"level {level} of the template has shape {list(mean.shape)}, but the latents have "
            f"{list(z.shape)}: use a template made at the same image size."
        )


def _fake_anomaly_map(compared: Compared) -> Tensor:
    finest = compared.latents[0]
    batch, _, height, width = finest.shape
    return allocation.empty((batch, height, width), like=finest)


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


def _samples(s: Samples) -> Calls:
    latents = [s.level, s.coarse]
    template = [s.draw(1, *z.shape[1:]) for z in latents]
    spread = [s.draw(*mean.shape).abs() for mean in template]
    shift = [s.draw(BATCH, CHANNELS, 1, 1) for _ in latents]
    return [
        (latents, template, weights, taken, tolerance)
        for weights in (None, spread)
        for taken in (None, shift)
        for tolerance in (0, 2)
    ]


def _backward_samples(s: Samples) -> Calls:
    latents, template, *_ = _samples(s)[0]
    return [(s.draw(BATCH, HEIGHT, WIDTH), latents, template)]


register(
    __package__,
    Op(
        "anomaly_map(Tensor[] latents, Tensor[] template, Tensor[]? inverse_spread,"
        " Tensor[]? shift, int tolerance=0) -> Tensor",
        check=check_anomaly_map,
        gathered=Compared,
        apart=("shift",),
        fake=_fake_anomaly_map,
        samples=_samples,
        save=_save_anomaly_map,
        backward=_anomaly_map_backward,
    ),
    Op(
        "anomaly_map_backward(Tensor grad_map, Tensor[] latents, Tensor[] template) -> Tensor[]",
        check=check_anomaly_map_backward,
        fake=_fake_anomaly_map_backward,
        samples=_backward_samples,
    ),
)

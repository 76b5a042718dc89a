"""Every operation of the package in one table: schema, fake function and gradient.

Each row of :data:`OPS` becomes ``torch.ops.pyramidflow.<name>``. Calling one runs the function of
the same name and arguments in the backend that ``dispatch.py`` chooses; the backends are listed
there, each implements every row. The functions take tensors of one floating type, dense or not;
results are dense, in the memory format of the first tensor (``allocation.py``). Checked arguments
come from ``functions.py``.

The backward operations are rows of their own and have no derivative: a second one is refused.
``conv_coupling_conv1x1`` is for inference and has none either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation, dispatch

NAMESPACE = "pyramidflow"

NAMESPACE_OPS: Any = torch.ops.pyramidflow
"""The registered operations."""

MEAN_DIMS = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
    ("none", "sample"): (0, 1, 2, 3),
    ("none", "batch"): (0, 1, 2, 3),
}
"""Dimensions of size 1 in the mean that a coupling takes from its parameters."""


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        schema: name, arguments and results, as ``torch.library`` writes them.
        fake: results without values, from the same arguments.
        save: keeps in the autograd context what ``backward`` needs.
        backward: gradients of the arguments from those of the results; ``None`` refuses.
    """

    schema: str
    fake: Callable[..., Any]
    save: Callable[..., None] | None = None
    backward: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """Name of the operation, as in ``torch.ops.pyramidflow``."""
        return self.schema.partition("(")[0]


def mean_shape(params: Tensor, volume_norm: str, statistics: str) -> list[int]:
    """Shape of the mean that a coupling takes from parameters ``[B, 2C, H', W']``."""
    full = [params.shape[0], params.shape[1] // 2, params.shape[2], params.shape[3]]
    reduced = MEAN_DIMS[volume_norm, statistics]
    return [1 if dim in reduced else size for dim, size in enumerate(full)]


def log_det_dtype(x: Tensor) -> torch.dtype:
    """Type of a coupling's log-determinants: a sum over a sample leaves float16's range."""
    return torch.promote_types(x.dtype, torch.float32)


def _like(x: Tensor) -> Tensor:
    return allocation.empty(x.shape, like=x)


def _nothing(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return allocation.empty((0,), like=like, dtype=dtype)


def _fake_pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    half = (*x.shape[:2], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
    if reduction == "max":
        index = allocation.empty(half, like=x, dtype=torch.uint8)
    else:
        index = _nothing(x, torch.uint8)
    return allocation.empty(half, like=x), index


def _fake_pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    return allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)


def _save_pyramid_down(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, ctx.reduction = inputs
    ctx.height, ctx.width = x.shape[2:]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _pyramid_down_backward(ctx: Any, grad_y: Tensor, _grad_index: Any) -> tuple[Any, ...]:
    (index,) = ctx.saved_tensors
    grad_x = NAMESPACE_OPS.pyramid_down_backward(
        grad_y, index, ctx.height, ctx.width, ctx.reduction
    )
    return grad_x, None


def _fake_pyramid_up_backward(grad: Tensor) -> Tensor:
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    return allocation.empty(half, like=grad)


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _pyramid_residual_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    need_fine, need_coarse = ctx.needs_input_grad
    return (
        grad if need_fine else None,
        NAMESPACE_OPS.pyramid_up_backward(grad).neg() if need_coarse else None,
    )


def _pyramid_merge_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    need_coarse, need_residual = ctx.needs_input_grad
    return (
        NAMESPACE_OPS.pyramid_up_backward(grad) if need_coarse else None,
        grad if need_residual else None,
    )


def _fake_affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _fake_mean(params, mean, volume_norm, statistics), _fake_log_det(x)


def _fake_mean(params: Tensor, mean: Tensor | None, volume_norm: str, statistics: str) -> Tensor:
    if mean is not None:
        return _nothing(params)
    return allocation.empty(mean_shape(params, volume_norm, statistics), like=params)


def _fake_log_det(x: Tensor) -> Tensor:
    return allocation.empty((x.shape[0],), like=x, dtype=log_det_dtype(x))


def _fake_affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    return _like(x), _like(params)


def _save_affine_coupling(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, params, mean, *ctx.settings = inputs
    _, mean_used, _ = output
    ctx.mean_given = mean is not None
    ctx.save_for_backward(x, params, mean_used if mean is None else mean)
    ctx.mark_non_differentiable(mean_used)


def _affine_coupling_backward(
    ctx: Any, grad_y: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    x, params, mean = ctx.saved_tensors
    grad_x, grad_params = NAMESPACE_OPS.affine_coupling_backward(
        grad_y, grad_log_det, x, params, mean, ctx.mean_given, *ctx.settings
    )
    return grad_x, grad_params, None, None, None, None


def _affine_coupling_inverse_backward(
    ctx: Any, grad_x: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    y, params, mean = ctx.saved_tensors
    grad_y, grad_params = NAMESPACE_OPS.affine_coupling_inverse_backward(
        grad_x, grad_log_det, y, params, mean, ctx.mean_given, *ctx.settings
    )
    return grad_y, grad_params, None, None, None, None


def _fake_invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    return _like(y)


def _fake_invertible_conv1x1_backward(
    grad_z: Tensor, y: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    return _like(y), allocation.empty(weight.shape, like=weight)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _invertible_conv1x1_backward(ctx: Any, grad_z: Tensor) -> tuple[Any, ...]:
    y, weight = ctx.saved_tensors
    grad_y, grad_weight = NAMESPACE_OPS.invertible_conv1x1_backward(grad_z, y, weight)
    return grad_y, grad_weight


def _fake_coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _fake_mean(params, mean, volume_norm, statistics), _fake_log_det(x)


def _fake_coupling_conv1x1_backward(
    grad_z: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _like(params), allocation.empty(weight.shape, like=weight)


def _save_coupling_conv1x1(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, params, mean, weight, *ctx.settings = inputs
    _, mean_used, _ = output
    ctx.mean_given = mean is not None
    ctx.save_for_backward(x, params, mean_used if mean is None else mean, weight)
    ctx.mark_non_differentiable(mean_used)


def _coupling_conv1x1_backward(
    ctx: Any, grad_z: Tensor, _grad_mean: Any, grad_log_det: Tensor
) -> tuple[Any, ...]:
    x, params, mean, weight = ctx.saved_tensors
    grad_x, grad_params, grad_weight = NAMESPACE_OPS.coupling_conv1x1_backward(
        grad_z, grad_log_det, x, params, mean, ctx.mean_given, weight, *ctx.settings
    )
    return grad_x, grad_params, None, grad_weight, None, None, None


def _fake_conv2d(x: Tensor, weight: Tensor, resample: str, tile: int) -> Tensor:
    height, width = x.shape[2:]
    if resample == "up":
        height, width = 2 * height, 2 * width
    elif resample == "down":
        height, width = (height + 1) // 2, (width + 1) // 2
    return allocation.empty((x.shape[0], weight.shape[0], height, width), like=x)


def _fake_conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    resample: str,
    tile: int,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    return (
        _like(x) if need_x else x.new_empty(0),
        torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
        if need_weight
        else weight.new_empty(0),
    )


def _save_conv2d(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.resample, ctx.tile = inputs
    ctx.save_for_backward(x, weight)


def _conv2d_backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    need_x, need_weight = ctx.needs_input_grad[:2]
    grad_x, grad_weight = NAMESPACE_OPS.conv2d_backward(
        grad_y, x, weight, ctx.resample, ctx.tile, need_x, need_weight
    )
    return grad_x if need_x else None, grad_weight if need_weight else None, None, None


def _fake_conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    return _like(x)


def _fake_anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> Tensor:
    batch, _, height, width = latents[0].shape
    return allocation.empty((batch, height, width), like=latents[0])


def _fake_anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    return [_like(z) for z in latents]


def _save_anomaly_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    latents, template = inputs
    ctx.levels = len(latents)
    ctx.save_for_backward(*latents, *template)


def _anomaly_map_backward(ctx: Any, grad_map: Tensor) -> tuple[Any, ...]:
    latents, template = ctx.saved_tensors[: ctx.levels], ctx.saved_tensors[ctx.levels :]
    grads = NAMESPACE_OPS.anomaly_map_backward(grad_map, latents, template)
    grads_template = [
        -(grad.sum(0, keepdim=True) if len(mean) == 1 else grad)
        for grad, mean in zip(grads, template, strict=True)
    ]
    return grads, grads_template


def _fake_normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    batch, height, width, channels = image.shape
    return torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)


_COUPLING = "str volume_norm, str statistics, float clamp"

OPS = (
    Op(
        "pyramid_down(Tensor x, str reduction) -> (Tensor y, Tensor index)",
        fake=_fake_pyramid_down,
        save=_save_pyramid_down,
        backward=_pyramid_down_backward,
    ),
    Op(
        "pyramid_down_backward(Tensor grad_y, Tensor index, SymInt height, SymInt width,"
        " str reduction) -> Tensor",
        fake=_fake_pyramid_down_backward,
    ),
    Op(
        "pyramid_residual(Tensor fine, Tensor coarse) -> Tensor",
        fake=lambda fine, coarse: _like(fine),
        save=_save_nothing,
        backward=_pyramid_residual_backward,
    ),
    Op(
        "pyramid_merge(Tensor coarse, Tensor residual) -> Tensor",
        fake=lambda coarse, residual: _like(residual),
        save=_save_nothing,
        backward=_pyramid_merge_backward,
    ),
    Op("pyramid_up_backward(Tensor grad) -> Tensor", fake=_fake_pyramid_up_backward),
    Op(
        f"affine_coupling(Tensor x, Tensor params, Tensor? mean, {_COUPLING})"
        " -> (Tensor y, Tensor mean_used, Tensor log_det)",
        fake=_fake_affine_coupling,
        save=_save_affine_coupling,
        backward=_affine_coupling_backward,
    ),
    Op(
        "affine_coupling_backward(Tensor grad_y, Tensor grad_log_det, Tensor x, Tensor params,"
        f" Tensor mean_used, bool mean_given, {_COUPLING})"
        " -> (Tensor grad_x, Tensor grad_params)",
        fake=_fake_affine_coupling_backward,
    ),
    Op(
        f"affine_coupling_inverse(Tensor y, Tensor params, Tensor? mean, {_COUPLING})"
        " -> (Tensor x, Tensor mean_used, Tensor log_det)",
        fake=_fake_affine_coupling,
        save=_save_affine_coupling,
        backward=_affine_coupling_inverse_backward,
    ),
    Op(
        "affine_coupling_inverse_backward(Tensor grad_x, Tensor grad_log_det, Tensor y,"
        f" Tensor params, Tensor mean_used, bool mean_given, {_COUPLING})"
        " -> (Tensor grad_y, Tensor grad_params)",
        fake=_fake_affine_coupling_backward,
    ),
    Op(
        "invertible_conv1x1(Tensor y, Tensor weight) -> Tensor",
        fake=_fake_invertible_conv1x1,
        save=_save_inputs,
        backward=_invertible_conv1x1_backward,
    ),
    Op(
        "invertible_conv1x1_backward(Tensor grad_z, Tensor y, Tensor weight)"
        " -> (Tensor grad_y, Tensor grad_weight)",
        fake=_fake_invertible_conv1x1_backward,
    ),
    Op(
        f"coupling_conv1x1(Tensor x, Tensor params, Tensor? mean, Tensor weight, {_COUPLING})"
        " -> (Tensor z, Tensor mean_used, Tensor log_det)",
        fake=_fake_coupling_conv1x1,
        save=_save_coupling_conv1x1,
        backward=_coupling_conv1x1_backward,
    ),
    Op(
        "coupling_conv1x1_backward(Tensor grad_z, Tensor grad_log_det, Tensor x, Tensor params,"
        f" Tensor mean_used, bool mean_given, Tensor weight, {_COUPLING})"
        " -> (Tensor grad_x, Tensor grad_params, Tensor grad_weight)",
        fake=_fake_coupling_conv1x1_backward,
    ),
    Op(
        "conv2d(Tensor x, Tensor weight, str resample, int tile) -> Tensor",
        fake=_fake_conv2d,
        save=_save_conv2d,
        backward=_conv2d_backward,
    ),
    Op(
        "conv2d_backward(Tensor grad_y, Tensor x, Tensor weight, str resample, int tile,"
        " bool need_x, bool need_weight) -> (Tensor grad_x, Tensor grad_weight)",
        fake=_fake_conv2d_backward,
    ),
    Op(
        "conv_coupling_conv1x1(Tensor x, Tensor hidden, Tensor kernel, Tensor mean, Tensor weight,"
        " str resample, float clamp) -> Tensor",
        fake=_fake_conv_coupling_conv1x1,
    ),
    Op(
        "anomaly_map(Tensor[] latents, Tensor[] template) -> Tensor",
        fake=_fake_anomaly_map,
        save=_save_anomaly_map,
        backward=_anomaly_map_backward,
    ),
    Op(
        "anomaly_map_backward(Tensor grad_map, Tensor[] latents, Tensor[] template) -> Tensor[]",
        fake=_fake_anomaly_map_backward,
    ),
    Op(
        "normalize_image(Tensor image, Tensor mean, Tensor std, ScalarType dtype) -> Tensor",
        fake=_fake_normalize_image,
        save=_save_nothing,
    ),
)
"""The table."""


def _implementation(op: Op) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        dtype = arguments[-1] if isinstance(arguments[-1], torch.dtype) else first.dtype
        backend = dispatch.select(first.device.type, dtype)
        return getattr(backend, op.name)(*arguments)

    return run


def _refusal(op: Op) -> Callable[..., Any]:
    def refuse(ctx: Any, *grads: Any) -> Any:
        raise InputError(
            f"{op.name} has no derivative: first derivatives of the operations are there, second "
            "ones, and those of operations for inference alone, are not."
        )

    return refuse


def _register() -> torch.library.Library:
    library: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
    for op in OPS:
        library.define(op.schema, tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(op.name, _implementation(op), "CompositeExplicitAutograd")
        name = f"{NAMESPACE}::{op.name}"
        torch.library.register_fake(name, op.fake, lib=library)
        torch.library.register_autograd(
            name, op.backward or _refusal(op), setup_context=op.save or _save_nothing, lib=library
        )
    return cast(torch.library.Library, library)


LIBRARY = _register()
"""Owner of the registrations: they live as long as it does."""

"""Every operation of the package in one table: schema, fake function and gradient.

Each row of :data:`OPS` becomes ``torch.ops.pyramidflow.<name>``; the rows stand in a file for each
family. Calling one runs the function of the same name and arguments in the backend that
``dispatch.py`` chooses; the backends are listed there, each implements every row. The functions
take tensors of one floating type, dense or not; results are dense, in the memory format of the
first tensor (``allocation.py``). Arguments come checked from ``functions``; a row checks them again
before its kernel runs, a few microseconds, so that a call past the public functions, or a gradient
that is not PyTorch's own, is refused and reaches no memory outside its tensors.

The backward operations are rows of their own and have no derivative: a second one is refused.
``conv_coupling_conv1x1`` is for inference and has none either.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import dispatch
from pyramidflow.ops.checks.common import check_type
from pyramidflow.ops.checks.coupling import mean_shape
from pyramidflow.ops.registry import convolution, coupling, image, pyramid
from pyramidflow.ops.registry.coupling import log_det_dtype
from pyramidflow.ops.registry.op import NAMESPACE, Op

__all__ = ["LIBRARY", "OPS", "Op", "log_det_dtype", "mean_shape"]

OPS = (*pyramid.OPS, *coupling.OPS, *convolution.OPS, *image.OPS)
"""The table."""


def _implementation(op: Op) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        dtype = arguments[-1] if isinstance(arguments[-1], torch.dtype) else first.dtype
        backend = dispatch.select(first.device.type, dtype)
        return getattr(backend, op.name)(*arguments)

    return run


def _checked(op: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    alike = op.alike

    def run(*arguments: Any) -> Any:
        op.check(*arguments)
        first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        for place, name in alike:
            if arguments[place] is not None:
                check_type(name, arguments[place], first.dtype)
        return function(*arguments)

    return run


def _refusal(op: Op) -> Callable[..., Any]:
    def refuse(ctx: Any, *grads: Any) -> Any:
        raise InputError(
            f"{op.name} has no derivative: first derivatives of the operations are there, second "
            "ones, and those of operations for inference alone, are not."
        )

    return refuse


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


def _register() -> torch.library.Library:
    library: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
    for op in OPS:
        library.define(op.schema, tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(op.name, _checked(op, _implementation(op)), "CompositeExplicitAutograd")
        name = f"{NAMESPACE}::{op.name}"
        torch.library.register_fake(name, _checked(op, op.fake), lib=library)
        torch.library.register_autograd(
            name, op.backward or _refusal(op), setup_context=op.save or _save_nothing, lib=library
        )
    return cast(torch.library.Library, library)


LIBRARY = _register()
"""Owner of the registrations: they live as long as it does."""

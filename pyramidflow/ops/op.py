"""An operation: its schema, its checks, its fake function and its gradient.

Each family registers its operations, in a ``schema.py`` if it is no small one; they become
``torch.ops.pyramidflow.<name>``. The functions of the backends take tensors of one floating type,
dense or not; results are dense, in the memory format of the first tensor (``allocation.py``).
Arguments come checked from the public functions; an operation checks them again before it runs, a
few microseconds, so that a call past the public functions, or a gradient that is not PyTorch's own,
is refused and reaches no memory outside its tensors.

The backward operations have no derivative: a second one is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import allocation, dispatch
from pyramidflow.ops.checks import check_type
from pyramidflow.ops.samples import Calls, Samples

NAMESPACE = "pyramidflow"

NAMESPACE_OPS: Any = torch.ops.pyramidflow
"""The registered operations."""

LIBRARY: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
"""Owner of the registrations: they live as long as it does."""


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        schema: name, arguments and results, as ``torch.library`` writes them.
        check: refuses arguments that the backends cannot take, by an ``InputError``.
        fake: results without values, from the same arguments.
        samples: arguments for each of its modes, from small tensors: ``doctor`` runs them.
        save: keeps in the autograd context what ``backward`` needs; ``None`` keeps nothing.
        backward: gradients of the arguments from those of the results; ``None`` refuses.
        apart: tensors that need not be of the first one's element type.
        gathered: named tuple that the schema's last arguments become, for every function but
            ``save`` and ``backward``: a schema has no structures.
        composite: computes it of other operations' steps, the first argument, where a backend
            leaves it out; ``None`` leaves that to the reference.
    """

    schema: str
    check: Callable[..., None]
    fake: Callable[..., Any]
    samples: Callable[[Samples], Calls]
    save: Callable[..., None] | None = None
    backward: Callable[..., Any] | None = None
    apart: tuple[str, ...] = ()
    gathered: Callable[..., tuple[Any, ...]] | None = None
    composite: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """Name of the operation, as in ``torch.ops.pyramidflow``."""
        return self.schema.partition("(")[0]

    @property
    def alike(self) -> list[tuple[int, str]]:
        """Place and name of each tensor, or list of them, that is of the first one's type."""
        tensors = [re.match(r"\s*Tensor\S*\s+(\w+)", argument) for argument in self._arguments()]
        return [(i, m[1]) for i, m in enumerate(tensors) if m and m[1] not in self.apart]

    @property
    def optional_lists(self) -> list[int]:
        """Places of the lists of tensors that may be missing."""
        return [i for i, a in enumerate(self._arguments()) if a.strip().startswith("Tensor[]?")]

    def taking_schema(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that takes the schema's arguments, from one that takes the gathered ones."""
        gathered = self.gathered
        if gathered is None:
            return function
        count = len(self._arguments()) - len(gathered._fields)  # type: ignore[attr-defined]

        @wraps(function)
        def run(*arguments: Any) -> Any:
            return function(*arguments[:count], gathered(*arguments[count:]))

        return run

    def _arguments(self) -> list[str]:
        return self.schema.partition(" -> ")[0].partition("(")[2].rstrip(")").split(",")


def register(package: str | None, *ops: Op) -> None:
    """Register a family's operations.

    Args:
        package: of the family, where the backends' files stand.
        ops: the operations.
    """
    assert package is not None
    for op in ops:
        dispatch.OPERATIONS[op.name] = dispatch.Operation(
            op.name, package, op.taking_schema, op.composite
        )
        LIBRARY.define(op.schema, tags=(torch.Tag.pt2_compliant_tag,))
        # One registration for every device: see `dispatch`.
        LIBRARY.impl(op.name, _checked(op, _chosen(op)), "CompositeExplicitAutograd")
        name = f"{NAMESPACE}::{op.name}"
        torch.library.register_fake(name, _checked(op, op.taking_schema(op.fake)), lib=LIBRARY)
        torch.library.register_autograd(
            name, op.backward or _refusal(op), setup_context=op.save or _save_nothing, lib=LIBRARY
        )
        OPS[op.name] = op


OPS: dict[str, Op] = {}
"""Every registered operation, by name."""


def _chosen(op: Op) -> Callable[..., Any]:
    optional_lists = op.optional_lists

    def run(*arguments: Any) -> Any:
        if optional_lists:
            arguments = _without_negative_views(arguments, optional_lists)
        first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        dtype = arguments[-1] if isinstance(arguments[-1], torch.dtype) else first.dtype
        backend = dispatch.select(first.device.type, dtype)
        return dispatch.implementation(backend, op.name)(*arguments)

    return run


def _without_negative_views(arguments: tuple[Any, ...], places: list[int]) -> tuple[Any, ...]:
    # PyTorch resolves them in tensors and in lists of these, but in no list that may be missing.
    resolved = list(arguments)
    for place in places:
        if place < len(resolved) and resolved[place] is not None:
            resolved[place] = [x.resolve_neg() for x in resolved[place]]
    return tuple(resolved)


def _checked(op: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    alike, check = op.alike, op.taking_schema(op.check)

    def run(*arguments: Any) -> Any:
        check(*arguments)
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


def empty_like(x: Tensor) -> Tensor:
    """A result of the size and type of ``x``."""
    return allocation.empty(x.shape, like=x)


def nothing(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A result without elements."""
    return allocation.empty((0,), like=like, dtype=dtype)

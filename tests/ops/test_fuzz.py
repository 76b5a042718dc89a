"""The compiled CPU operations on arguments of every kind: the oracle's value, or its refusal."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import selftest
from pyramidflow.ops.op import OPS
from tests.support.backends import require_backend
from tests.support.guarded import guarded_memory
from tests.support.ops_fuzz import ARGUMENTS, Call, calls

require_backend("cpu")

FORWARD, GRADIENT = 1e-5, 1e-4
"""Relative errors allowed by the design."""


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same examples on every run: a failure is one of the code, not of the dice."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Tensors, in lists and dictionaries too, with a change."""
    if isinstance(value, Mapping):
        return {name: changed(v, change) for name, v in value.items()}
    if isinstance(value, list):
        return [changed(v, change) for v in value]
    return change(value) if isinstance(value, Tensor) else value


def outcome(backend: str, call: Call) -> list[Tensor] | str:
    """Results of a call, or the sentence of its refusal."""
    with ops.use_backend(backend):
        try:
            results = getattr(ops, call.name)(**call.arguments)
        except InputError as refused:
            return str(refused)
    return [results] if isinstance(results, Tensor) else list(results)


def doubled(call: Call) -> Call:
    def double(x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    arguments = changed(call.arguments, double)
    if "dtype" in arguments:
        arguments["dtype"] = torch.float64
    return Call(call.name, arguments)


def assert_close(got: Tensor, exact: Tensor, tolerance: float) -> None:
    assert got.shape == exact.shape
    if got.is_meta or exact.is_meta:
        assert got.is_meta == exact.is_meta
        return
    size = max(1.0, float(exact.abs().nan_to_num().max())) if exact.numel() else 1.0
    torch.testing.assert_close(
        got.double(), exact.double(), rtol=0, atol=tolerance * size, equal_nan=True
    )


def assert_same(call: Call, got: list[Tensor] | str, expected: list[Tensor] | str) -> None:
    if isinstance(got, str) or isinstance(expected, str):
        assert got == expected
        assert ": " in got
        assert got.endswith(".")
        return
    assert [g.dtype for g in got] == [e.dtype for e in expected]
    if got[0].dtype == torch.float32:
        expected = outcome("reference", doubled(call))
        assert not isinstance(expected, str)
    for ours, oracle in zip(got, expected, strict=True):
        assert_close(ours, oracle, FORWARD)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_value_or_refusal_of_the_oracle(name: str) -> None:
    @examples(200)
    @given(calls(name))
    def check(call: Call) -> None:
        with guarded_memory():
            got = outcome("cpu", call)
        assert_same(call, got, outcome("reference", call))

    check()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_results_without_values_are_like_those_with(name: str) -> None:
    @examples(60)
    @given(calls(name))
    def check(call: Call) -> None:
        on_meta = Call(name, changed(call.arguments, lambda x: x.to("meta")))
        expected, got = outcome("cpu", call), outcome("cpu", on_meta)
        if isinstance(expected, str) or isinstance(got, str):
            # The devices differ where one operand only was on "meta" to begin with.
            assert got == expected or "move them to one device" in expected
            return
        for ours, real in zip(got, expected, strict=True):
            assert (ours.device.type, ours.dtype) == ("meta", real.dtype)
            assert ours.shape == real.shape

    check()


FOR_INFERENCE = ("conv_coupling_conv1x1", "nearest_distance", "normalize_image")
DIFFERENTIABLE = [n for n in ARGUMENTS if n not in FOR_INFERENCE]


def gradients(backend: str, call: Call) -> list[Tensor] | str:
    """Gradients of every tensor that has one, of a weighted sum of the differentiable results."""
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[-1]

    arguments = changed(call.arguments, leaf)
    mean = arguments.get("mean")
    if mean is not None:  # it has no gradient by contract
        mean.requires_grad_(False)
        leaves = [x for x in leaves if x is not mean]
    results = outcome(backend, Call(call.name, arguments))
    if isinstance(results, str):
        return results
    loss = torch.zeros((), dtype=results[0].dtype)
    for place, result in enumerate(r for r in results if r.requires_grad):
        generator = torch.Generator().manual_seed(place)
        loss = loss + (result * torch.randn(result.shape, generator=generator).to(result)).sum()
    with ops.use_backend(backend):
        try:
            return list(torch.autograd.grad(loss, leaves))
        except InputError as refused:  # not everything that can be computed has a derivative
            return str(refused)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_the_oracle(name: str) -> None:
    @examples(60)
    @given(calls(name, flawed=False))
    def check(call: Call) -> None:
        with guarded_memory():
            got = gradients("cpu", call)
        expected = gradients("reference", doubled(call))
        if isinstance(got, str) or isinstance(expected, str):
            assert got == expected
            return
        for ours, oracle in zip(got, expected, strict=True):
            assert ours.dtype == torch.float32
            assert_close(ours, oracle, GRADIENT)

    check()


@st.composite
def damaged(draw: st.DrawFn, operation: str) -> tuple[Any, ...]:
    """A row's arguments, one of its tensors with another shape, type or device."""
    arguments = list(draw(st.sampled_from(selftest.cases()[operation])))
    tensors = [i for i, a in enumerate(arguments) if isinstance(a, Tensor | list)]
    place = draw(st.sampled_from(tensors))
    value = arguments[place]
    if isinstance(value, list):
        level = draw(st.integers(0, len(value) - 1))
        arguments[place] = [*value]
        arguments[place][level] = draw(_damage(value[level]))
    else:
        arguments[place] = draw(_damage(value))
    return tuple(arguments)


def _damage(x: Tensor) -> st.SearchStrategy[Tensor]:
    sizes = st.tuples(*(st.sampled_from([0, 1, n, n, n + 1, 2 * n]) for n in x.shape))
    return st.one_of(
        sizes.map(lambda shape: torch.ones(shape, dtype=x.dtype)),
        st.sampled_from([x[:0], x.flatten(), x[None], x.half(), x.double(), x.to("meta")]),
    )


@pytest.mark.parametrize("operation", OPS)
def test_rows_past_the_public_functions(operation: str) -> None:
    function = getattr(torch.ops.pyramidflow, operation)

    def results(backend: str, arguments: tuple[Any, ...]) -> list[Tensor] | str:
        with ops.use_backend(backend):
            try:
                found = function(*arguments)
            except InputError as refused:
                return str(refused)
        return [found] if isinstance(found, Tensor) else list(found)

    @examples(40)
    @given(damaged(operation))
    def check(arguments: tuple[Any, ...]) -> None:
        with guarded_memory():
            got = results("cpu", arguments)
        expected = results("reference", arguments)
        if isinstance(got, str) or isinstance(expected, str):
            assert got == expected
            return
        for ours, oracle in zip(got, expected, strict=True):
            assert ours.shape == oracle.shape

    check()

"""Tensors to call operations with, and the backends to call them on."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.ops import dispatch


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def coupling_inputs(
    batch: int = 2,
    channels: int = 3,
    size: tuple[int, int] = (4, 5),
    params_size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """A level and the parameters of a coupling of it."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    params = torch.randn(
        batch, 2 * channels, *(params_size or size), generator=generator, dtype=torch.float64
    )
    return x, params


def assert_log_det_left_out(operations: dispatch.Steps, name: str, *arguments: Any) -> None:
    """A coupling that is asked for no log-determinant gives none, and all else as it would."""
    expected = getattr(operations, name)(*arguments)
    found = getattr(operations, name)(*arguments, False)
    assert found[2].shape == (0,)
    assert found[2].dtype == expected[2].dtype
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def available() -> list[str]:
    """Backends that take CPU tensors here."""
    return [
        r.name for r in ops.backends() if r.available and not dispatch.load(r.name).refusal("cpu")
    ]

"""Every operation in every backend that is here: plain PyTorch, compiled, and the kernels.

The cases and the bytes that each must move are those of ``cases.py``; the candidates for one case
are a group.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch

from benchmarks.conftest import Scale
from benchmarks.operations import cases as ops
from pyramidflow.ops import dispatch

CANDIDATES = [
    ("reference", "cpu"),
    ("compiled", "cpu"),
    ("cpu", "cpu"),
    ("reference", "cuda"),
    ("compiled", "cuda"),
    ("cuda", "cuda"),
    ("triton", "cuda"),
]
NAMES = [case.name for case in ops.cases(1, 4, torch.contiguous_format)]


@lru_cache(maxsize=2)  # one layout on each device
def cases(scale: Scale, layout: str, device: str) -> dict[str, ops.Case]:
    """Cases of one size and layout on a device, by name."""
    torch.manual_seed(0)
    found = ops.cases(scale.channels, scale.image_size, ops.LAYOUTS[layout])
    return {c.name: dataclasses.replace(c, arguments=ops.moved(c.arguments, device)) for c in found}


def synchronised(run: Callable[[], object]) -> Callable[[], object]:
    """Run, and wait until the device is done."""

    def timed() -> object:
        result = run()
        torch.cuda.synchronize()
        return result

    return timed


@pytest.mark.parametrize(("backend", "device"), CANDIDATES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", ops.LAYOUTS)
def test_operation(
    benchmark: Any, scale: Scale, backend: str, device: str, name: str, layout: str
) -> None:
    """Time one case; the result has GB/s of the least bytes that the operation must move."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device is present")
    state = dispatch.status("reference" if backend == "compiled" else backend)
    if not state.available:
        pytest.skip(state.reason)
    case = cases(scale, layout, device)[name]
    if backend == "compiled":
        torch._dynamo.reset()
    run = ops.candidate(case, backend)
    try:
        least = ops.least_bytes(case, run())
    except torch._dynamo.exc.TorchDynamoException as error:
        pytest.skip(f"torch.compile does not take it: {type(error).__name__}")
    benchmark.group = f"{name}, {layout}, {device}"
    benchmark.extra_info.update(
        backend=backend,
        device=device,
        scale=dataclasses.asdict(scale),
        bound=case.bound,
        least_bytes=least,
        threads=torch.get_num_threads(),
    )
    benchmark(synchronised(run) if device == "cuda" else run)
    if benchmark.stats is not None:  # unless --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info["gigabytes_per_second"] = least / median / 1e9

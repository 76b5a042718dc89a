"""What the comparisons of the Triton kernels need."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture
def nan_filled_buffers() -> Iterator[None]:
    """Memory that PyTorch hands out is NaN to begin with."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def smallest_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that small shapes take several programs along every axis."""
    from triton.runtime.autotuner import Autotuner

    from pyramidflow.kernels.tuning import INTERPRETED

    def smallest(tuner: Autotuner, _: Any) -> list[Any]:
        def size(config: Any) -> tuple[int, int]:
            blocks = config.kwargs.values()
            return int(np.prod(list(blocks))), max(blocks)

        return [min(tuner.configs, key=size)]

    if INTERPRETED:
        monkeypatch.setattr(Autotuner, "prune_configs", smallest)

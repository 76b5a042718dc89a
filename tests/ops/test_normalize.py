"""The normalisation of camera pixels."""

import numpy as np
import pytest
import torch

from pyramidflow import ops
from pyramidflow.ops.dispatch import steps
from tests.support.cpu_cases import (
    on_cpu,
)

torch.manual_seed(0)


@pytest.mark.parametrize(("dtype", "full"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_normalize_image_scales_by_the_type(dtype, full):
    image = torch.tensor([[[[0, full // 5, full]]]], dtype=dtype)  # [1, 1, 1, 3]
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.25, 2.0])
    out = ops.normalize_image(image, mean, std)
    expected = [(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (1 - 0.3) / 2.0]
    assert out.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(out.flatten(), expected, atol=1e-6)
    half = ops.normalize_image(image, mean, std, torch.float16)
    assert half.dtype == torch.float16
    np.testing.assert_allclose(half.flatten(), expected, atol=2e-3)


cpu, oracle = steps("cpu"), steps("reference")


@on_cpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(
    "shape", [(0, 3, 4, 3), (1, 1, 1, 3), (3, 5, 7, 3), (1, 70, 90, 3)], ids=str
)
def test_normalize_image(dtype: torch.dtype, shape: tuple[int, ...], level: int) -> None:
    image = torch.randint(0, torch.iinfo(dtype).max + 1, shape, dtype=torch.int32).to(dtype)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    got = cpu.normalize_image(image, mean, std, torch.float32)
    want = oracle.normalize_image(image, mean.double(), std.double(), torch.float64)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    turned = image.transpose(1, 2)
    torch.testing.assert_close(
        cpu.normalize_image(turned, mean, std, torch.float32), got.transpose(2, 3)
    )

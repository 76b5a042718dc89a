"""What a file's tensors are held against."""

import math

import pytest
import torch

from pyramidflow.errors import InputError
from pyramidflow.model.state import TensorKind, check_tensors


def check(tensor, **known):
    check_tensors({"it": tensor}, {"it": TensorKind((tuple(tensor.shape),), tensor.dtype, **known)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [1, 7, 64, 1000, 100_003])
def test_a_number_that_is_not_finite_is_found_wherever_it_stands(value, size):
    for at in {0, size // 2, size - 1}:
        tensor = torch.linspace(-1, 1, size)
        check(tensor)
        tensor[at] = value
        assert not torch.isfinite(tensor).all()
        with pytest.raises(InputError, match="the tensor it holds numbers that are not finite"):
            check(tensor)
        with pytest.raises(InputError, match="not finite"):
            check(torch.stack((torch.zeros(size), tensor)).T)  # every other one, in memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
def test_ranges_hold_to_the_last_number(dtype):
    tensor = torch.tensor([[1, 2], [3, 9]], dtype=dtype)
    check(tensor, least=1, most=9, is_positive=True)
    for limits in ({"least": 2}, {"most": 8}):
        with pytest.raises(InputError, match="the tensor it holds 1 to 9"):
            check(tensor, **limits)
    tensor[0, 0] = 0
    with pytest.raises(InputError, match="not above zero"):
        check(tensor, is_positive=True)


def test_booleans_and_empty_tensors_hold_no_numbers_to_refuse():
    check(torch.tensor([True, False]))
    check(torch.zeros(0, 3), least=1, is_positive=True)

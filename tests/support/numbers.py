"""How far numbers are from others."""

import torch


def relative_error(value, expected):
    value = torch.as_tensor(value).detach().double()
    expected = torch.as_tensor(expected).detach().double()
    return float((value - expected).norm() / expected.norm().clamp_min(1e-300))

"""Triton kernels, one file per operation: formulas, block sizes and the bytes that each one moves.

They import nothing but torch and triton, and nothing in them is tied to one vendor's devices.
:mod:`pyramidflow.ops` allocates, launches and differentiates.
"""

from . import (
    anomaly_map,
    conv1x1,
    coupling,
    coupling_convolution,
    coupling_sums,
    normalize,
    pyramid_down,
    pyramid_down_max,
    pyramid_up,
    tuning,
)

__all__ = [
    "anomaly_map",
    "conv1x1",
    "coupling",
    "coupling_convolution",
    "coupling_sums",
    "normalize",
    "pyramid_down",
    "pyramid_down_max",
    "pyramid_up",
    "tuning",
]

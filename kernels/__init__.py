"""Triton kernels, one file per operation: formulas, block sizes and the bytes that each one moves.

They import nothing but torch and triton, and nothing in them is tied to one vendor's devices.
:mod:`pyramidflow.ops` allocates, launches and differentiates.
"""

from . import anomaly_map, conv1x1, conv_coupling, coupling, normalize, pyramid, tuning

__all__ = [
    "anomaly_map",
    "conv1x1",
    "conv_coupling",
    "coupling",
    "normalize",
    "pyramid",
    "tuning",
]

"""Stateless operations: what the model computes with, one function each.

``functions.py`` holds the public functions, ``reference.py`` the oracle in plain PyTorch.
"""

from pyramidflow.ops.functions import (
    CLAMP,
    Reduction,
    Statistics,
    VolumeNormKind,
    affine_coupling,
    affine_coupling_inverse,
    anomaly_map,
    invertible_conv1x1,
    normalize_image,
    pyramid_down,
    pyramid_merge,
    pyramid_residual,
)

__all__ = [
    "CLAMP",
    "Reduction",
    "Statistics",
    "VolumeNormKind",
    "affine_coupling",
    "affine_coupling_inverse",
    "anomaly_map",
    "invertible_conv1x1",
    "normalize_image",
    "pyramid_down",
    "pyramid_merge",
    "pyramid_residual",
]

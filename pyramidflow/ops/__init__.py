"""Stateless operations: what the model computes with, one function each.

``functions`` holds the public functions, ``registry`` the table of operations that they call,
``dispatch.py`` the choice among the implementations, ``reference.py`` the oracle in plain PyTorch.
Where operations are spread over files, the files are the same families everywhere: ``pyramid``,
``coupling``, ``convolution``, ``image``.
"""

from pyramidflow.ops.convolution.methods import Resampling
from pyramidflow.ops.dispatch import BackendRecord, active_backend, backends, use_backend
from pyramidflow.ops.functions.convolution import conv2d, invertible_conv1x1
from pyramidflow.ops.functions.coupling import (
    CLAMP,
    affine_coupling,
    affine_coupling_inverse,
    conv_coupling_conv1x1,
    coupling_conv1x1,
)
from pyramidflow.ops.functions.image import anomaly_map, normalize_image
from pyramidflow.ops.functions.pyramid import (
    pyramid_down,
    pyramid_merge,
    pyramid_residual,
)
from pyramidflow.variants import Reduction, Statistics, VolumeNormKind

__all__ = [
    "CLAMP",
    "BackendRecord",
    "Reduction",
    "Resampling",
    "Statistics",
    "VolumeNormKind",
    "active_backend",
    "affine_coupling",
    "affine_coupling_inverse",
    "anomaly_map",
    "backends",
    "conv2d",
    "conv_coupling_conv1x1",
    "coupling_conv1x1",
    "invertible_conv1x1",
    "normalize_image",
    "pyramid_down",
    "pyramid_merge",
    "pyramid_residual",
    "use_backend",
]

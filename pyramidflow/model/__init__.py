"""The network: modules only, no files and no printing."""

from pyramidflow.model.contrast import Contrast
from pyramidflow.model.coupling import (
    AffineParams,
    CouplingBlock,
    DualCoupling,
    InvertibleConv1x1,
    Pyramid,
    SingleDownCoupling,
    SingleUpCoupling,
    VolumeNorm2d,
)
from pyramidflow.model.encoder import CustomEncoder, EncoderName, Lift, ResNetEncoder
from pyramidflow.model.flow import Flow
from pyramidflow.model.network import PyramidFlow
from pyramidflow.model.pyramid import InvertiblePyramid
from pyramidflow.spec import Architecture

__all__ = [
    "AffineParams",
    "Architecture",
    "Contrast",
    "CouplingBlock",
    "CustomEncoder",
    "DualCoupling",
    "EncoderName",
    "Flow",
    "InvertibleConv1x1",
    "InvertiblePyramid",
    "Lift",
    "Pyramid",
    "PyramidFlow",
    "ResNetEncoder",
    "SingleDownCoupling",
    "SingleUpCoupling",
    "VolumeNorm2d",
]

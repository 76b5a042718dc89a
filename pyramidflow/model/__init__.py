"""The network: modules only, no files and no printing.

What is known of encoders before they are built (:mod:`pyramidflow.model.encoders`) needs no
PyTorch; so the modules, which do, load on use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramidflow.model.codebook import Codebook
    from pyramidflow.model.comparison import Comparison
    from pyramidflow.model.contrast import ComposedContrast, Contrast
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
    from pyramidflow.model.encoder import CustomEncoder, LayeredNetwork, Lift, Standardised
    from pyramidflow.model.flow import Flow
    from pyramidflow.model.network import PyramidFlow
    from pyramidflow.model.pyramid import InvertiblePyramid
    from pyramidflow.spec import Architecture

_MODULES = {
    "pyramidflow.model.codebook": ("Codebook",),
    "pyramidflow.model.comparison": ("Comparison",),
    "pyramidflow.model.contrast": ("ComposedContrast", "Contrast"),
    "pyramidflow.model.coupling": (
        "AffineParams",
        "CouplingBlock",
        "DualCoupling",
        "InvertibleConv1x1",
        "Pyramid",
        "SingleDownCoupling",
        "SingleUpCoupling",
        "VolumeNorm2d",
    ),
    "pyramidflow.model.encoder": ("CustomEncoder", "LayeredNetwork", "Lift", "Standardised"),
    "pyramidflow.model.flow": ("Flow",),
    "pyramidflow.model.network": ("PyramidFlow",),
    "pyramidflow.model.pyramid": ("InvertiblePyramid",),
    "pyramidflow.spec": ("Architecture",),
}

__all__ = [
    "AffineParams",
    "Architecture",
    "Codebook",
    "Comparison",
    "ComposedContrast",
    "Contrast",
    "CouplingBlock",
    "CustomEncoder",
    "DualCoupling",
    "Flow",
    "InvertibleConv1x1",
    "InvertiblePyramid",
    "LayeredNetwork",
    "Lift",
    "Pyramid",
    "PyramidFlow",
    "SingleDownCoupling",
    "SingleUpCoupling",
    "Standardised",
    "VolumeNorm2d",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            found = getattr(import_module(module), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The network: modules only, no files and no printing.

What is known of encoders before they are built (:mod:`pyramidflow.model.encoders`) needs no
PyTorch; so the modules, which do, load on use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramidflow.model.architecture import Architecture
    from pyramidflow.model.codebook import Codebook
    from pyramidflow.model.comparison import Comparison
    from pyramidflow.model.contrast import ComposedContrast, Contrast
    from pyramidflow.model.coupling import (
        AffineParams,
        CouplingBlock,
        InvertibleConv1x1,
        Pyramid,
        VolumeNorm2d,
    )
    from pyramidflow.model.flow import Flow
    from pyramidflow.model.frozen import CustomEncoder, FrozenEncoder, FrozenSteps, Standardised
    from pyramidflow.model.layered import LayeredNetwork
    from pyramidflow.model.network import PyramidFlow
    from pyramidflow.model.pyramid import InvertiblePyramid

_MODULES = {
    "pyramidflow.model.architecture": ("Architecture",),
    "pyramidflow.model.codebook": ("Codebook",),
    "pyramidflow.model.comparison": ("Comparison",),
    "pyramidflow.model.contrast": ("ComposedContrast", "Contrast"),
    "pyramidflow.model.coupling": (
        "AffineParams",
        "CouplingBlock",
        "InvertibleConv1x1",
        "Pyramid",
        "VolumeNorm2d",
    ),
    "pyramidflow.model.flow": ("Flow",),
    "pyramidflow.model.frozen": (
        "CustomEncoder",
        "FrozenEncoder",
        "FrozenSteps",
        "Standardised",
    ),
    "pyramidflow.model.layered": ("LayeredNetwork",),
    "pyramidflow.model.network": ("PyramidFlow",),
    "pyramidflow.model.pyramid": ("InvertiblePyramid",),
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
    "Flow",
    "FrozenEncoder",
    "FrozenSteps",
    "InvertibleConv1x1",
    "InvertiblePyramid",
    "LayeredNetwork",
    "Pyramid",
    "PyramidFlow",
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

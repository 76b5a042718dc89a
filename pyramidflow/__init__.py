"""PyramidFlow: full-resolution defect detection trained from good images only.

``Detector`` trains, calibrates, inspects, saves and loads; ``PyramidFlow`` is the network.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyramidflow.detector import Detector
    from pyramidflow.model import PyramidFlow

__version__ = version("pyramidflow")

__all__ = ["Detector", "PyramidFlow", "__version__"]


def __getattr__(name: str) -> Any:
    # The two classes bring torch with them: they load on use, so that the command line answers
    # at once.
    if name == "Detector":
        from pyramidflow.detector import Detector

        return Detector
    if name == "PyramidFlow":
        from pyramidflow.model import PyramidFlow

        return PyramidFlow
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Other methods trained and measured beside the detector, and the figure of their maps."""

from pyramidflow.evaluation.comparison.ae_ssim import EPOCHS as AE_SSIM_EPOCHS
from pyramidflow.evaluation.comparison.ae_ssim import AeSsim
from pyramidflow.evaluation.comparison.compare import (
    Example,
    MethodComparison,
    MethodResult,
    compare,
)
from pyramidflow.evaluation.comparison.features import Features
from pyramidflow.evaluation.comparison.figure import write_figure
from pyramidflow.evaluation.comparison.method import Method
from pyramidflow.evaluation.comparison.methods import METHODS, Peers, method_names
from pyramidflow.evaluation.comparison.ours import Ours
from pyramidflow.evaluation.comparison.padim import Padim
from pyramidflow.evaluation.comparison.patchcore import PatchCore
from pyramidflow.evaluation.comparison.spade import Spade
from pyramidflow.evaluation.comparison.tables import table_lines, write_json, write_markdown

__all__ = [
    "AE_SSIM_EPOCHS",
    "METHODS",
    "AeSsim",
    "Example",
    "Features",
    "Method",
    "MethodComparison",
    "MethodResult",
    "Ours",
    "Padim",
    "PatchCore",
    "Peers",
    "Spade",
    "compare",
    "method_names",
    "table_lines",
    "write_figure",
    "write_json",
    "write_markdown",
]

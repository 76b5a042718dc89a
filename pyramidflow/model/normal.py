"""The comparison that a detector's settings ask for."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from pyramidflow.model.agreeing import AgreeingLevels
from pyramidflow.model.beside import BesideTemplate
from pyramidflow.model.codebook import Codebook
from pyramidflow.model.comparison import Comparison
from pyramidflow.model.contrast import ComposedContrast, Contrast
from pyramidflow.model.templates import NearestTemplate
from pyramidflow.variants import Fusion, TemplatesBy


class Rule(Protocol):
    """What of a detector's settings says how latents are compared.

    Attributes:
        light: whether each channel's mean over the image is taken off.
        templates_by: where the nearest template is looked for.
        tolerance: pixels of each level that a template may lie aside.
        beside_template: whether a codebook stands beside the templates, or in their place.
        fusion: how the levels of the pyramid become one map.
    """

    @property
    def light(self) -> bool: ...  # noqa: D102
    @property
    def templates_by(self) -> TemplatesBy: ...  # noqa: D102
    @property
    def tolerance(self) -> int: ...  # noqa: D102
    @property
    def beside_template(self) -> bool: ...  # noqa: D102
    @property
    def fusion(self) -> Fusion: ...  # noqa: D102


def comparison_of(
    rule: Rule,
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    codebook: Codebook | None = None,
    *,
    pyramid_difference: bool = True,
) -> Comparison:
    """Put what was learned of good parts together as the settings say.

    Args:
        rule: the settings.
        template: mean latents, levels ``[K, C, h_d, w_d]``, finest first.
        inverse_spread: levels ``[1, C, h_d, w_d]`` or ``[1, C, 1, 1]``; ``None`` for 1.
        codebook: where the settings ask for one.
        pyramid_difference: ``False`` composes before the difference (ablation III).
    """
    if codebook is not None and not rule.beside_template:
        return codebook
    if not pyramid_difference:
        return ComposedContrast(template)
    found: Comparison
    if len(template[0]) > 1 or rule.tolerance > 0:
        settings = (rule.light, rule.templates_by, rule.tolerance)
        found = NearestTemplate(template, inverse_spread, *settings)
    else:
        found = Contrast.of(template, inverse_spread, rule.light)
        if rule.fusion == "product":
            found = AgreeingLevels(found)
    return found if codebook is None else BesideTemplate(found, codebook)

"""Other settings of the verdict for a detector as it is."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.counted_area import masks_of
from pyramidflow.errors import InputError, shown
from pyramidflow.spec import VerdictRule
from pyramidflow.validated import described


def judging(artifact: Artifact, settings: Mapping[str, Any]) -> Artifact:
    """The same detector with other settings of the verdict; its thresholds stay as they are.

    They say for which scores they were made, and count for no others.

    Args:
        artifact: of any detector.
        settings: by name.

    Raises:
        InputError: a name is none of the verdict's, a value is refused, or a mask picture cannot be
            read.
    """
    for name in settings:
        if name not in described(VerdictRule):
            raise InputError(
                f"{shown(name)} is no setting of the verdict: choose from "
                f"{', '.join(described(VerdictRule))}."
            )
    rule = replace(artifact.spec.rule, **settings)
    masks = masks_with(artifact, rule, settings)
    found = artifact.calibration
    if found is not None and found.scored_by is None:  # a file of an older version does not say it
        found = replace(found, scored_by=artifact.scoring)
    spec = replace(artifact.spec, rule=rule)
    return replace(artifact, spec=spec, masks=masks, calibration=found)


def masks_with(
    artifact: Artifact, rule: VerdictRule, settings: Mapping[str, Any]
) -> tuple[Tensor, ...]:
    """The masks of another rule: those that the artifact has, and those that are named anew.

    Args:
        artifact: with the masks of its own rule.
        rule: the other one.
        settings: that were given for it; a mask picture that they name is read where it is a file.

    Raises:
        InputError: a mask picture cannot be read.
    """
    before = artifact.spec.rule.masks
    if rule.masks == before and not {"region_of_interest", "exclude"} & set(settings):
        return artifact.masks
    region, exclude = settings.get("region_of_interest"), settings.get("exclude")
    named = VerdictRule(region_of_interest=region, exclude=exclude).masks
    device = next(artifact.network.parameters()).device
    known = {
        name: mask
        for name, mask in zip(before, artifact.masks, strict=True)
        if name not in named or not os.path.isfile(os.path.expanduser(name))
    }
    return tuple(mask.to(device) for mask in masks_of(rule, known))

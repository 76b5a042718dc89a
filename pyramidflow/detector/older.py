"""Headers of older formats as today's."""

from collections.abc import Mapping
from typing import Any


def from_version_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """A header of format version 1 as one of version 2."""
    training = dict(document["training"])
    recipe = dict(training.pop("recipe", {}))
    recipe["augment"] = "texture" if recipe.get("augment") else "none"
    recipe |= {"seed": document["seed"], "without": document["without"]}
    history = training.pop("history", [])
    last = history[-1] if history else {}
    calibration = document["calibration"]
    if calibration is not None:
        calibration = {"threshold": document["threshold"], **calibration}
    elif document["threshold"] is not None:
        calibration = {"threshold": document["threshold"], "source": "by hand"}
    record = {
        **training,
        "loss": last.get("loss"),
        "held_out_loss": last.get("validation_loss"),
        "epochs": last.get("epoch", 0),
    }
    return {
        **document,
        "spec": {
            "network": document["architecture"],
            "preprocessing": document["preprocessing"],
            "recipe": recipe,
            "rule": {"region_of_interest": document["region_of_interest"]},
        },
        "calibration": calibration,
        "training": record if training else None,
        "history": history,
    }

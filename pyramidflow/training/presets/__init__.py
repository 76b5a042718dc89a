"""Published tables of settings, asked for by name only.

A preset gives the settings of a category; a new one is a module here and its line below.
"""

from collections.abc import Callable
from typing import Any

from pyramidflow.errors import InputError
from pyramidflow.training.presets import mvtec, paper

PRESETS: dict[str, Callable[[str], dict[str, Any]]] = {
    "mvtec": mvtec.settings,
    "paper": paper.settings,
}
"""Settings of a category, by the preset's name."""


def preset_settings(name: str, category: str) -> dict[str, Any]:
    """Settings that a preset has for a category.

    Raises:
        InputError: there is no such preset.
    """
    if name not in PRESETS:
        raise InputError(f"the preset is {name!r}: choose one of {', '.join(PRESETS)}.")
    return PRESETS[name](category)

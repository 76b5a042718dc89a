"""Settings by category that the released code uses for MVTec AD."""

from typing import Any

SVN_CATEGORIES = frozenset({"carpet", "grid", "bottle", "transistor"})
LEVELS_BY_CATEGORY = {"metal_nut": 8, "carpet": 8, "transistor": 8, "screw": 2}
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")

LEVELS = 4


def settings(category: str) -> dict[str, Any]:
    """Settings of a category.

    CVN, four levels and no augmentation for all that MVTec AD does not name; volume normalisation
    takes its means over a step's two images, and a part is compared with the template alone.

    Source: the authors' released code. The augmentation of textures is our own choice.
    """
    return {
        "volume_norm": "svn" if category in SVN_CATEGORIES else "cvn",
        "levels": LEVELS_BY_CATEGORY.get(category, LEVELS),
        "augment": "texture" if category in TEXTURES else "none",
        "statistics": "batch",
        "batch_size": 2,
        "spread": "none",
        "light": False,
    }

"""Settings that follow the letter of the paper's supplement."""

from typing import Any


def settings(category: str) -> dict[str, Any]:
    """The same for every category: the pyramid takes every second row and column.

    The released code, and the default here, take the maximum of each 2×2 cell instead. A part is
    compared with the template alone. A step takes two images.

    Source: supplement sections 1.1 and 1.2.
    """
    return {"reduction": "nearest", "batch_size": 2, "spread": "none", "light": False}

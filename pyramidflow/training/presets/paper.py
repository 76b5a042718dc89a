"""Settings that follow the letter of the paper's supplement."""

from typing import Any


def settings(category: str) -> dict[str, Any]:
    """The same for every category: the pyramid takes every second row and column.

    The released code, and the default here, take the maximum of each 2×2 cell instead. A part is
    compared with the template alone.

    Source: supplement section 1.2, Invertible Pyramid.
    """
    return {"reduction": "nearest", "spread": "none", "light": False}

"""Settings by category that the released code uses for MVTec AD."""

from dataclasses import dataclass

from pyramidflow import ops

SVN_CATEGORIES = frozenset({"carpet", "grid", "bottle", "transistor"})
LEVELS_BY_CATEGORY = {"metal_nut": 8, "carpet": 8, "transistor": 8, "screw": 2}


@dataclass(frozen=True)
class PublishedSettings:
    """What varies with the category.

    Attributes:
        volume_norm: ``"cvn"`` or ``"svn"``.
        levels: ``L`` of the pyramid.
    """

    volume_norm: ops.VolumeNormKind
    levels: int


def published_settings(category: str) -> PublishedSettings:
    """Settings of a category; CVN and four levels for all that MVTec AD does not name.

    Source: the authors' released code.
    """
    return PublishedSettings(
        volume_norm="svn" if category in SVN_CATEGORIES else "cvn",
        levels=LEVELS_BY_CATEGORY.get(category, 4),
    )

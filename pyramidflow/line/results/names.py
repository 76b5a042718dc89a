"""What an inspection writes into its folder, and where."""

import os
from pathlib import Path
from typing import Final

from pyramidflow.io.names import readable_bytes

RESULTS_NAME: Final = "results.jsonl"
RUN_NAME: Final = "results.run.json"
OVERLAYS: Final = "overlays"
MAPS: Final = "maps"
PICTURE_SUFFIXES: Final = {OVERLAYS: ".png", MAPS: ".tiff"}
"""What an inspection writes for an image, by folder."""

PICTURE_FOLDERS: Final = {"overlay": OVERLAYS, "map": MAPS}
"""Where each kind of picture lies."""


def path_text(path: Path) -> str:
    """A path as records hold it: bytes that are no UTF-8 are written out."""
    return readable_bytes(str(path))


def picture_path(folder: Path, name: str) -> Path:
    """Where a picture lies.

    Args:
        folder: of the results.
        name: as records hold it, ``overlays/NAME.png``.
    """
    # In a locale that is not UTF-8, Python would write the name in another encoding.
    return folder / os.fsdecode(name.encode())

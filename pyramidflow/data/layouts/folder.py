"""A plain folder of good images."""

from pathlib import Path

from pyramidflow.data.layouts.common import Contents, Layout
from pyramidflow.data.listing import find_images


def _recognises(folder: Path) -> bool:
    return folder.is_dir()


def _read(folder: Path) -> Contents:
    listing = find_images(folder)
    return Contents(train=listing.files, left_out=listing.left_out)


FOLDER = Layout("folder", ".", _recognises, _read)

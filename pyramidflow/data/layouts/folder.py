"""A plain folder of good images: all are for training, there is nothing to test on."""

from pathlib import Path

from pyramidflow.data.layouts.common import Contents, Layout
from pyramidflow.data.listing import find_images


def _recognises(folder: Path) -> bool:
    return folder.is_dir()


def _read(folder: Path) -> Contents:
    listing = find_images(folder)
    return Contents(train=listing.files, left_out=listing.left_out)


FOLDER = Layout("folder", "a plain folder", ".", _recognises, _read, order=1000)
"""What remains where no other layout recognises a folder."""

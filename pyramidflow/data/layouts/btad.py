"""The layout of BTAD.

========  ==========================
training  ``train/ok``
test      ``test/ok``, ``test/ko``
masks     ``ground_truth/ko``
========  ==========================
"""

from pathlib import Path

from pyramidflow.data.layouts.common import Layout, has_labelled_folder
from pyramidflow.data.layouts.labelled import read_labelled


def _recognises(folder: Path) -> bool:
    return has_labelled_folder(folder, lambda name: name.casefold() in ("ok",))


# After MVTec AD: a folder with names of both is read as that.
BTAD = Layout("btad", "BTAD", "train/ok", _recognises, read_labelled, order=20)

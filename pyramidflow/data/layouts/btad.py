"""The layout of BTAD: ``train/ok``, ``test/KIND`` and ``ground_truth/KIND``."""

from pathlib import Path

from pyramidflow.data.layouts.common import Layout, has_labelled_folder
from pyramidflow.data.layouts.labelled import read_labelled


def _recognises(folder: Path) -> bool:
    return has_labelled_folder(folder, lambda name: name.casefold() in ("ok",))


BTAD = Layout("btad", "train/ok", _recognises, read_labelled)

"""The layout of MVTec AD.

========  ==========================
training  ``train/good``
test      ``test/KIND``
masks     ``ground_truth/KIND``
========  ==========================
"""

from pathlib import Path

from pyramidflow.data.layouts.common import Layout, has_labelled_folder, is_near_good
from pyramidflow.data.layouts.labelled import read_labelled


def _recognises(folder: Path) -> bool:
    # Near names too: reading the category then says what is wrong with them.
    return has_labelled_folder(
        folder, lambda name: name.casefold() in ("good", "normal") or is_near_good(name)
    )


MVTEC = Layout("mvtec", "MVTec AD", "train/good", _recognises, read_labelled)

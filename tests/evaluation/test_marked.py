"""Pictures that a person has judged: what a detector says of them."""

from types import SimpleNamespace

import torch
from PIL import Image

from pyramidflow.data import Decoding
from pyramidflow.evaluation import Rate
from pyramidflow.evaluation.marked import judge


class ByBrightness:
    """Stands for a session: bright pictures are ng, and black ones too large for a device."""

    decoding = Decoding()

    def inspect_pixels(self, pictures):
        for picture in pictures:
            if picture.max() == 0:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            yield SimpleNamespace(verdict="ng" if picture.max() > 100 else "ok")


def test_a_picture_that_a_device_cannot_hold_counts_nowhere(tmp_path):
    pictures = {}
    for name, grey in (("dark", 50), ("bright", 200), ("black", 0)):
        pictures[name] = tmp_path / f"{name}.png"
        Image.new("L", (8, 8), grey).save(pictures[name])
    found = judge(
        ByBrightness(),
        [pictures["dark"], pictures["bright"], pictures["black"]],
        [pictures["bright"], tmp_path / "missing.png"],
    )
    assert found == (Rate(1, 2), Rate(0, 1), 2)

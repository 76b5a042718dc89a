"""Pictures that a person has judged: what a detector says of them."""

from types import SimpleNamespace

import torch
from PIL import Image

from pyramidflow.data import Decoding
from pyramidflow.evaluation import Rate
from pyramidflow.evaluation.marked import judge


class ByBrightness:
    """Stands for a session: bright pictures are ng or for review, black ones beyond a device."""

    decoding = Decoding()

    def inspect_pixels(self, pictures):
        for picture in pictures:
            if picture.max() == 0:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            brightness = picture.max()
            verdict = "ng" if brightness > 100 else "review" if brightness > 70 else "ok"
            yield SimpleNamespace(verdict=verdict)


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
    assert found == (Rate(1, 2), Rate(0, 2), Rate(0, 1), 2)


def test_a_good_part_for_review_is_no_false_reject_and_a_bad_one_no_escape(tmp_path):
    pictures = []
    for grey in (50, 80, 90, 200):
        pictures.append(tmp_path / f"{grey}.png")
        Image.new("L", (8, 8), grey).save(pictures[-1])
    found = judge(ByBrightness(), pictures, pictures)
    assert (found.false_rejects, found.good_reviews) == (Rate(1, 4), Rate(2, 4))
    assert found.escapes == Rate(1, 4)

"""Results of a tuning that is resumed: only its own are taken."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.errors import InputError
from pyramidflow.tuning import tune
from tests.support.part_sets import in_changing_light
from tests.support.tiny import TINY


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "good").mkdir()
    for i in range(16):
        pixels = np.clip(in_changing_light(rng), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "good" / f"{i:02}.bmp")
    return tmp_path / "good"


def halving(weight):
    """An encoder whose weights are all one number."""
    module = torch.nn.Conv2d(3, 4, 2, stride=2, bias=False)
    torch.nn.init.constant_(module.weight, weight)
    return module


def tuned(folder, file, *, weight=0.1, resume=False):
    detector = Detector(32, **TINY, encoder=halving(weight), epochs=1, device="cpu")
    return tune(detector, open_dataset(folder), choices=(), results=file, resume=resume)


def test_results_of_other_pictures_of_the_same_names_and_sizes_are_refused(folder, tmp_path):
    file = tmp_path / "results.json"
    tuned(folder, file)
    before = file.read_bytes()
    tuned(folder, file, resume=True)
    assert file.read_bytes() == before
    for path in folder.iterdir():
        size = path.stat().st_size
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        assert path.stat().st_size == size
    with pytest.raises(InputError, match="other images"):
        tuned(folder, file, resume=True)


def test_results_of_other_encoder_weights_are_refused(folder, tmp_path):
    file = tmp_path / "results.json"
    tuned(folder, file)
    with pytest.raises(InputError, match="encoder weights"):
        tuned(folder, file, weight=0.2, resume=True)

"""The checkpoint of a training: forged ones and those of others are refused by a sentence."""

import pytest
import torch
from torch import nn

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors
from tests.support.detector_files import changed_header, without_digest
from tests.support.tiny import TINY
from tests.support.trainings import assert_bit_equal


@pytest.fixture(scope="module")
def checkpoint(tiny_set, tmp_path_factory):
    path = tmp_path_factory.mktemp("training") / "c.safetensors"
    Detector(16, **TINY).fit(
        tiny_set, epochs=1, checkpoint=path, show_progress=False, validation_share=0.25
    )
    return load_tensors(path, "checkpoint")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("position",), None),
        (("position", "epoch"), -1),
        (("position", "epoch"), "1"),
        (("position", "epoch"), 7),
        (("position", "step"), 1.5),
        (("position", "step"), 99),
        (("position", "history"), [1]),
        (("position", "history"), [{"seconds": 1.0}]),
        (("position", "history", 0, "seconds"), 1e300),
        (("position", "seconds"), 1e308),
        (("position", "loss_sum"), 1.7e308),
        (("position", "more"), 1),
        (("recipe",), []),
        (("recipe", "seed"), 9),
    ],
    ids=str,
)
def test_forged_checkpoints_are_refused(checkpoint, tmp_path, tiny_set, path, value):
    header = changed_header(checkpoint[0], path, value)
    refused_checkpoint(tmp_path, tiny_set, header, checkpoint[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random/cpu", torch.zeros(3, dtype=torch.uint8)),
        ("random/cpu", torch.zeros(5056)),
        ("optimizer/0/exp_avg", torch.zeros(2)),
        ("optimizer/0/step", torch.zeros(3)),
        ("optimizer/0/step", torch.tensor(-1.0)),
        ("optimizer/0/step", torch.tensor(1.5)),
        ("optimizer/0/exp_avg_sq", torch.full((8, 4, 3, 3), -1.0)),
        ("optimizer/99/step", torch.zeros(())),
        ("optimizer/x", torch.zeros(())),
        ("model/flow.blocks.0.volume_norm.running_mean", torch.zeros(1, 1, 3, 3)),
        ("model/encoder.weight", torch.full((4, 3), float("nan"))),
    ],
)
def test_checkpoints_with_other_tensors_are_refused(checkpoint, tmp_path, tiny_set, name, value):
    tensors = {**checkpoint[1], name: value}
    refused_checkpoint(tmp_path, tiny_set, without_digest(checkpoint[0]), tensors)


def refused_checkpoint(tmp_path, tiny_set, header, tensors):
    path = tmp_path / "forged.safetensors"
    save_tensors(path, "checkpoint", header, tensors)
    with pytest.raises(InputError, match=r"forged\.safetensors") as caught:
        Detector(16, **TINY).fit(
            tiny_set,
            epochs=2,
            checkpoint=path,
            resume=True,
            show_progress=False,
            validation_share=0.25,
        )
    assert "\n" not in str(caught.value)


def halving(weight):
    """An encoder whose weights are all one number."""
    module = nn.Conv2d(3, 4, 2, stride=2, bias=False)
    nn.init.constant_(module.weight, weight)
    return module


def test_a_checkpoint_of_other_encoder_weights_is_refused(tiny_set, tmp_path):
    how = {"checkpoint": tmp_path / "c.safetensors", "show_progress": False}
    Detector(16, **TINY, encoder=halving(0.1)).fit(tiny_set, epochs=1, **how)
    with pytest.raises(InputError, match="made with encoder weights = "):
        Detector(16, **TINY, encoder=halving(0.2)).fit(tiny_set, epochs=2, resume=True, **how)
    resumed = Detector(16, **TINY, encoder=halving(0.1))
    resumed.fit(tiny_set, epochs=2, resume=True, **how)
    whole = Detector(16, **TINY, encoder=halving(0.1))
    assert_bit_equal(resumed, whole.fit(tiny_set, epochs=2, show_progress=False))

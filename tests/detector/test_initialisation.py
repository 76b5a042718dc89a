"""What a training begins with: settings of ``fit`` that shape the network, or draw its weights."""

import pytest
import torch

from pyramidflow import Detector
from pyramidflow.errors import InputError
from tests.support.tiny import TINY


def fitted(detector, data, **recipe):
    return detector.fit(data, epochs=1, show_progress=False, **recipe)


def assert_alike(one, other):
    others = other.model.state_dict()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, others[name]), name


def test_weights_follow_from_the_seed_wherever_it_was_given(tiny_set):
    of_detector = fitted(Detector(16, **TINY, seed=7), tiny_set)
    of_fit = fitted(Detector(16, **TINY), tiny_set, seed=7)
    assert of_fit.spec == of_detector.spec
    assert_alike(of_fit, of_detector)
    assert_alike(Detector(16, **TINY).changed(seed=7), Detector(16, **TINY, seed=7))


def test_an_ablation_may_be_given_to_the_training(tiny_set):
    of_detector = fitted(Detector(16, **TINY, without=("volume-norm",)), tiny_set)
    of_fit = fitted(Detector(16, **TINY), tiny_set, without=("volume-norm",))
    assert of_fit.spec.network.volume_norm == "none"
    assert of_fit.spec == of_detector.spec
    assert_alike(of_fit, of_detector)


def test_weights_that_no_seed_draws_stay(tiny_set):
    torch.manual_seed(3)
    module = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)
    before = module.weight.detach().clone()
    detector = Detector(16, **TINY, encoder=module)
    fitted(detector, tiny_set, seed=7)
    assert torch.equal(detector.model.encoder.module.weight, before)


def test_a_trained_network_is_trained_further_with_another_seed(tiny_detector_file, tiny_set):
    detector = Detector.load(tiny_detector_file)
    encoder = detector.model.encoder.weight.clone()
    fitted(detector, tiny_set, seed=7)
    assert torch.equal(detector.model.encoder.weight, encoder)


def test_a_trained_network_keeps_its_shape(tiny_detector_file, tmp_path):
    detector = Detector.load(tiny_detector_file)
    with pytest.raises(InputError, match=r"without is volume-norm.*trained.*Detector\(…\)"):
        detector.fit(tmp_path / "not opened", without=("volume-norm",))

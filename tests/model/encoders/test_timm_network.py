"""timm's networks as encoders: any by name, weights from a file or timm's own download."""

import builtins

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyramidflow import Detector, ops
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.model.encoders import encoder_of
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.runtime.folded import frozen_encoder
from pyramidflow.spec import IMAGENET_MEAN, IMAGENET_STD, Spec
from tests.support.backends import require_backend
from tests.support.numbers import relative_error
from tests.support.runtime_cases import (
    ERROR,
    contrast_of,
    pictures,
    trained,
    trained_network,
    whole_runtime,
)

timm = pytest.importorskip("timm", reason="timm is not installed")

SMALL = "test_efficientnet"
"""The smallest network of timm with batch norms."""

TINY = {"encoder": f"timm:{SMALL}", "levels": 2, "stacks": 1, "kernel_size": 3}
CPU = torch.device("cpu")


@pytest.fixture
def weights_file(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    save_file(timm.create_model(SMALL).state_dict(), file)
    return file


def test_features_are_the_stages_side_by_side(weights_file):
    settings = Spec.of({**TINY, "encoder_stages": (1, 2)}).network
    network = PyramidFlow.from_architecture(settings)
    encoder_of(settings.encoder).load_weights(network.encoder, weights_file)
    torch.manual_seed(0)
    whole = timm.create_model(SMALL).eval()
    image = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        fine, coarse = whole.forward_intermediates(image, indices=[1, 2], intermediates_only=True)
        up = torch.nn.functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
        expected = torch.cat([fine, up], 1)
    assert settings.channels == expected.shape[1]
    assert relative_error(network.features(image), expected) <= ERROR
    assert not any(p.requires_grad for p in network.encoder.parameters())


def test_settings_follow_from_the_network():
    spec = Spec.of(TINY | {"encoder": "timm:tf_efficientnet_lite0"})
    assert (spec.network.channels, spec.network.encoder_stages) == (24, (1,))
    assert spec.preprocessing.mean == (0.5, 0.5, 0.5)
    spec = Spec.of({"encoder": "timm:resnet18"})
    assert (spec.network.channels, spec.network.stride) == (64, None)
    assert spec.preprocessing.mean == IMAGENET_MEAN
    assert spec.preprocessing.std == IMAGENET_STD
    assert spec.preprocessing.size == (512, 512)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "timm:no_such_network"}, "has no such network"),
        ({"encoder": "timm:resnet18.no_such_tag"}, "has no such network"),
        ({"encoder": "timm:hf-hub:someone/net"}, "choose one of"),
        ({"encoder": "timm:resnet18", "encoder_stages": (9,)}, "encoder_stages is 9: timm gives"),
        ({"encoder": "timm:resnet18", "channels": 3}, "timm:resnet18 gives 64"),
        ({"encoder": "timm:swin_tiny_patch4_window7_224"}, "one image size alone"),
    ],
)
def test_what_timm_does_not_have_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Detector(32, levels=2, stacks=1, **settings)


def test_weights_of_another_network_are_refused(weights_file, tmp_path):
    state = timm.create_model(SMALL).state_dict()
    changes = {
        "conv_stem.weight is missing": {k: v for k, v in state.items() if k != "conv_stem.weight"},
        "bn1.bias has another shape": {**state, "bn1.bias": torch.zeros(99)},
    }
    for words, changed in changes.items():
        torch.save(changed, tmp_path / "w.pth")
        with pytest.raises(InputError, match=words):
            Detector(32, **TINY, encoder_weights=tmp_path / "w.pth")


def test_failed_download_says_how_to_provide_the_file(monkeypatch):
    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    with pytest.raises(InputError, match=r"not known\): .* --encoder-weights"):
        Detector(32, **TINY)


def test_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "timm":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'pyramidflow\[timm\]'"):
        Detector(32, **TINY | {"encoder": "timm:resnet26"})


@pytest.mark.parametrize(
    "name", [SMALL, "test_resnet", "resnet18", "tf_efficientnet_lite0", "test_convnext"]
)
def test_frozen_encoder_equals_the_network(name):
    network = trained_network((32, 32), **TINY | {"encoder": f"timm:{name}"})
    frozen = frozen_encoder(network.encoder, CPU, torch.float32)
    assert isinstance(frozen, torch.nn.Module)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen.modules())
    image = torch.randn(2, 3, 61, 70)
    with torch.no_grad():
        assert relative_error(frozen(image), network.encoder(image)) <= ERROR


def test_runtimes_equal_the_network():
    require_backend("cpu")
    size = (50, 66)
    network = trained_network(size, **TINY)
    network.encoder.std.uniform_(0.5, 2)
    images, contrast = pictures(1, size), contrast_of(network, size)
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])
    expected = network.anomaly_map(ops.normalize_image(images, mean, std), contrast)
    assert (
        relative_error(whole_runtime(network, contrast, (1, *size)).inspect(images), expected)
        <= ERROR
    )
    frozen = FrozenNetwork(trained(network, contrast), CPU, torch.float32)
    assert relative_error(frozen(images), expected) <= ERROR


def test_detector_is_trained_and_shipped(tiny_set, tmp_path, weights_file):
    detector = Detector(32, **TINY, encoder_weights=weights_file, device="cpu")
    detector.fit(tiny_set, epochs=1, show_progress=False)
    detector.save(tmp_path / "part.safetensors")
    again = Detector.load(tmp_path / "part.safetensors", device="cpu")  # needs no weights file
    image = tiny_set / "test" / "dent" / "000.png"
    assert np.array_equal(again.inspect(image).anomaly_map, detector.inspect(image).anomaly_map)

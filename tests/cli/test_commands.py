"""The command line, as users and scripts meet it."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector, __version__
from pyramidflow.errors import (
    CalibrationWarning,
    ImagesWarning,
    InputError,
    SlowOperationsWarning,
)
from pyramidflow.io.files import exclusive
from tests.support.command_line import assert_one_sentence, start
from tests.support.tiny import write_image

SMALL = "--image-size 16 --channels 4 --levels 2 --stacks 1 --kernel-size 3 --validation-share 0.25"


def assert_measured(folder, out):
    """Tables, report and scores of a tiny detector lie in the folder, and were printed."""
    assert "plate" in out
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == ["plate", "mean"]
    assert {"pixel_auroc", "image_auroc", "aupro@0.3", "aupro@1.0"} < rows[0].keys()
    assert (rows[0]["seed"], rows[0]["epoch"], rows[0]["size"]) == ("0", "2", "16")
    assert float(rows[0]["seconds"]) > 0
    assert rows[0]["pixel_auroc"] == rows[1]["pixel_auroc"]
    for key in ("pixel_auroc", "aupro@0.3", "image_auroc", "detection_rate"):
        assert f"{float(rows[0][key]):.4f}" in out  # nothing is cut off at 80 columns
    markdown = (folder / "metrics.md").read_text()
    assert markdown.splitlines()[2].startswith("| plate | ")
    assert (folder / "plate" / "report.html").read_text().lower().startswith("<!doctype html>")
    scores = [json.loads(x) for x in (folder / "plate" / "scores.jsonl").open()]
    assert len(scores) == 8
    assert sum(record["defective"] for record in scores) == 4


def test_train_evaluate_calibrate_inspect_template_info(run, tiny_set, tmp_path):
    model = tmp_path / "plate.safetensors"
    code, out, err = run("train", tiny_set, "--output", model, *SMALL.split(), "--epochs", 2)
    assert code == 0
    assert str(model) in out
    assert re.search(r"epoch 2/2 +loss \S+ +held-out loss \S+", err)
    assert model.with_suffix(".checkpoint.safetensors").exists()

    code, out, _ = run("info", model, "--plan", "--threads", 1)
    assert code == 0
    assert "multiply-adds instead of" in out
    assert "Measured on 1 threads" in out
    assert re.search(r"anomaly map +\S+ ms", out)
    code, _, err = run("info", model, "--plan", "--memory-budget", 1)
    assert_one_sentence(code, err, "memory budget", "at least")

    code, out, _ = run("evaluate", tiny_set, "--model", model, "--output", tmp_path / "ev")
    assert code == 0
    assert_measured(tmp_path / "ev", out)

    code, out, _ = run(
        "calibrate",
        tiny_set / "test" / "good",
        "--model",
        model,
        "--target-false-reject-rate",
        0.2,
        "--output",
        tmp_path / "calibrated.safetensors",
    )
    assert code == 0
    calibrated = Detector.load(tmp_path / "calibrated.safetensors")
    assert calibrated.calibration["images"] == 4
    assert f"{calibrated.threshold:.6g}" in out

    code, out, _ = run("template", "--model", model, "--output", tmp_path / "t.png")
    assert code == 0
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (16, 16)

    code, out, _ = run("info", model)
    assert code == 0
    for word in (
        "channels 4",
        "image size",
        "plate",
        "2 epochs",
        __version__,
        "pillow ",
        "imagecodecs ",
    ):
        assert word in out
    code, out, _ = run("info", model, "--json")
    assert json.loads(out)["spec"]["network"]["levels"] == 2


def test_two_trainings_do_not_write_to_one_file(run, tiny_set, tmp_path):
    output = tmp_path / "x.safetensors"
    with exclusive(output):
        code, _, err = run("train", tiny_set, "--output", output, *SMALL.split())
    assert_one_sentence(code, err, "another process")
    assert run("train", tiny_set, "--output", output, *SMALL.split(), "--epochs", 1)[0] == 0


def test_evaluate_takes_a_folder_of_detectors(run, tiny_set, tiny_detector_file, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    for name in ("plate", "other"):
        shutil.copytree(tiny_set, root / name)
    models = tmp_path / "models"
    models.mkdir()
    (models / "plate.safetensors").write_bytes(tiny_detector_file.read_bytes())
    code, _, _ = run("evaluate", root, "--model", models, "--output", tmp_path / "ev")
    assert code == 0
    assert (tmp_path / "ev" / "plate" / "report.html").exists()
    code, _, _ = run(
        "evaluate",
        root,
        "--model",
        tiny_detector_file,
        "--output",
        tmp_path / "ev2",
        "--category",
        "other",
    )
    assert (tmp_path / "ev2" / "other" / "report.html").exists()
    (tmp_path / "none").mkdir()
    code, _, err = run("evaluate", root, "--model", tmp_path / "none", "--output", tmp_path / "ev3")
    assert_one_sentence(code, err, "no detector file")


def test_bad_input_is_one_sentence_and_exit_code_2(run, tiny_set, tiny_detector_file, tmp_path):
    output = ("--output", tmp_path / "x.safetensors")
    nothing = tmp_path / "nothing"
    assert_one_sentence(*run("train", nothing, *output)[::2], nothing)
    nothing.mkdir()
    assert_one_sentence(*run("train", nothing, *output)[::2], nothing)
    write_image(tmp_path / "one" / "a.png", np.random.default_rng(0))
    assert_one_sentence(*run("train", tmp_path / "one", *output)[::2], "pair")
    write_image(tmp_path / "bad" / "a.png", np.random.default_rng(0))
    (tmp_path / "bad" / "b.png").write_bytes(b"not an image")
    assert_one_sentence(*run("train", tmp_path / "bad", *output, *SMALL.split())[::2], "b.png")
    os.symlink(tiny_set, tmp_path / "bad" / "plate")
    code, _, err = run("train", tiny_set.parent, "--category", "plaet", *output)
    assert_one_sentence(code, err, "plaet", "plate")
    assert_one_sentence(*run("train", tiny_set, "--output", tmp_path / "x.pt")[::2], ".safetensors")
    code, _, err = run(
        "train", tiny_set, *output, "--encoder", "resnet18", "--encoder-weights", "no.pth"
    )
    assert_one_sentence(code, err, "no.pth")
    assert_one_sentence(*run("train", tiny_set, *output, "--device", "cuda:99")[::2], "cuda:99")
    assert_one_sentence(*run("info", tiny_set / "test" / "good" / "000.png")[::2], "000.png")
    model = ("--model", tiny_detector_file)
    code, _, err = run("inspect", tmp_path / "nowhere", *model, "--output", tmp_path / "o")
    assert_one_sentence(code, err, "nowhere")
    code, _, err = run("inspect", tiny_set / "test", *model, "--output", tiny_detector_file)
    assert_one_sentence(code, err, "could not be written")
    code, _, err = run("evaluate", tiny_set / "train" / "good", *model, "--output", tmp_path / "o")
    assert_one_sentence(code, err, "no test images")
    assert_one_sentence(*run("template", *model, "--output", "t.bmp")[::2], ".png")
    assert not list(tmp_path.glob("*.safetensors"))


def test_usage_errors_exit_with_2(run):
    for arguments in (["train"], ["nonsense"], ["train", "x", "--output", "y", "--epochs", "many"]):
        code, _, err = run(*arguments)
        assert code == 2
        assert "Traceback" not in err


def test_debug_shows_the_traceback(run, tmp_path):
    for arguments in (["--debug", "info", tmp_path / "x"], ["info", tmp_path / "x", "--debug"]):
        code, _, err = run(*arguments)
        assert code == 2
        assert "Traceback" in err
        assert "InputError" in err


def test_unexpected_errors_are_not_mistaken_for_defects(run, monkeypatch, tmp_path):
    def broken(path):
        raise MemoryError("out of memory")

    monkeypatch.setattr("pyramidflow.detector.artifact.read_header", broken)
    code, _, err = run("info", tmp_path / "x")
    assert_one_sentence(code, err, "MemoryError")


def test_help_is_complete(run):
    code, out, _ = run("--help")
    assert code == 0
    commands = (
        *("train", "evaluate", "calibrate", "inspect", "template", "info", "doctor", "demo"),
        *("reproduce", "compare"),
    )
    for command in commands:
        assert command in out
    surface = {
        "train": "--output --category --encoder --encoder-weights --image-size --channels --levels "
        "--stacks --kernel-size --volume-norm --augment --epochs --batch-size --seed --device "
        "--resume --without",
        "evaluate": "--model --output",
        "inspect": "--model --output --fail-on-defect",
    }
    for command in commands:
        code, out, _ = run(command, "--help")
        assert code == 0
        for option in surface.get(command, "").split():
            assert option in out


def test_the_older_name_of_the_lift_is_taken_and_not_offered(run, tiny_set, tmp_path):
    model = tmp_path / "plate.safetensors"
    settings = ("--encoder", "none", "--epochs", 1)
    code, _, err = run("train", tiny_set, "--output", model, *SMALL.split(), *settings)
    assert code == 0, err
    assert Detector.load(model).spec.network.encoder == "lift"
    _, out, _ = run("train", "--help")
    offered = " ".join(out.replace("│", " ").split()).partition("--encoder ")[2].partition(" --")[0]
    assert "lift" in offered
    assert "none" not in offered


def test_slow_operations_are_one_line_on_standard_error(tiny_set, tiny_detector_file, tmp_path):
    image = tiny_set / "test" / "good" / "000.png"
    arguments = ["inspect", str(image), "--model", str(tiny_detector_file), "--output", "out"]
    script = (
        "import pathlib; from pyramidflow.ops.libraries import loading\n"
        "loading.FOLDER = pathlib.Path('/nowhere')\n"
        f"from pyramidflow.cli import main; main({arguments})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("warning: operations on 'cpu' run in plain PyTorch")
    assert "no compiled cpu library" in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_does_not_load_torch():
    script = (
        "import sys; from pyramidflow.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_demo_makes_its_report_and_can_run_again(run, tmp_path):
    output = tmp_path / "demo"
    arguments = ("demo", "--output", output, "--image-size", 32, "--images", 8, "--epochs", 1)
    for _ in range(2):
        # What a run leaves that was killed while it made or removed the images.
        (output / ".pyramidflow-demo-unfinished" / "train").mkdir(parents=True)
        code, out, _ = run(*arguments)
        assert code == 0
        for name in ("report.html", "detector.safetensors", "results.jsonl"):
            assert (output / name).exists()
            assert str(output / name) in out
    foreign = tmp_path / "mine"
    (foreign / "brick").mkdir(parents=True)
    (foreign / "brick" / "keep.txt").write_text("mine")
    code, _, err = run("demo", "--output", foreign)
    assert_one_sentence(code, err, foreign / "brick")
    assert (foreign / "brick" / "keep.txt").exists()


def test_demo_on_a_full_disk_is_one_sentence(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    code, _, err = run("demo", "--output", tmp_path / "demo", "--image-size", 32)
    assert_one_sentence(code, err, "000.png", "the disk is full")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_writes_the_checkpoint_and_resume_ends_bit_equal(run, tiny_set, tmp_path):
    settings = (*SMALL.split(), "--epochs", 25)
    stopped = tmp_path / "stopped.safetensors"
    process = start("train", tiny_set, "--output", stopped, *settings)
    checkpoint = stopped.with_suffix(".checkpoint.safetensors")
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert checkpoint.exists()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    assert not stopped.exists()
    assert run("train", tiny_set, "--output", stopped, *settings, "--resume")[0] == 0
    whole = tmp_path / "whole.safetensors"
    assert run("train", tiny_set, "--output", whole, *settings)[0] == 0
    a, b = Detector.load(stopped), Detector.load(whole)
    assert a.threshold == b.threshold
    for (name, x), y in zip(
        a.model.state_dict().items(), b.model.state_dict().values(), strict=True
    ):
        assert np.array_equal(x, y), name


@pytest.mark.parametrize("category", [SlowOperationsWarning, CalibrationWarning, ImagesWarning])
def test_warnings_are_one_line(run, monkeypatch, tmp_path, category):
    def warn(path):
        warnings.warn("two\nlines", category, stacklevel=1)
        raise InputError("no")

    monkeypatch.setattr("pyramidflow.detector.artifact.read_header", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *told, **options: sys.stderr.write(
            warnings.formatwarning(*told, **options)
        )
        code, _, err = run("info", tmp_path / "x")
    assert (code, err) == (2, "warning: two\\nlines\nerror: no\n")

"""``pyramidflow reproduce``: what it trains, keeps, says and goes on from."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.optim import Adam

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.errors import CalibrationWarning
from pyramidflow.evaluation import evaluate
from tests.support.command_line import assert_one_sentence
from tests.support.places import SHARED_DATA
from tests.support.tiny import write_image

NETWORK = ["--channels", "4", "--levels", "2", "--stacks", "1", "--kernel-size", "3"]
SMALL = ["--image-size", "16", "--epochs", "2", *NETWORK]
REDUCED = SHARED_DATA / "mvtec_reduced"


@pytest.fixture
def root(tiny_set, tmp_path):
    """A data set of two categories, one of them published."""
    for name in ("carpet", "plate"):
        shutil.copytree(tiny_set, tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.fixture
def reproduced(run, root, tmp_path):
    def call(*options):
        return *run("reproduce", root, "--output", tmp_path / "out", *SMALL, *options), out

    out = tmp_path / "out"
    return call


def rows_of(folder):
    with (folder / "tables.csv").open(encoding="utf-8", newline="") as file:
        return {(row["category"], row["variant"]): row for row in csv.DictReader(file)}


def training_images(root):
    return sorted((root / "train" / "good").iterdir())


def test_each_variant_is_trained_measured_and_laid_beside_its_number(reproduced, root, recwarn):
    code, printed, err, out = reproduced("--ablation", "II", "--ablation", "IV")
    assert code == 0
    assert "6 of 6: plate, IV: not trained yet" in err
    assert not [each for each in recwarn if each.category is CalibrationWarning]
    rows = rows_of(out)
    assert list(rows) == [(c, v) for v in ("baseline", "II", "IV") for c in ("carpet", "plate")]
    left_out = {"baseline": (), "II": ("template",), "IV": ("fourier-loss",)}
    for (category, variant), row in rows.items():
        detector = Detector.load(out / category / f"{variant}.safetensors")
        assert detector.spec.recipe.without == left_out[variant]
        assert detector.spec.network.volume_norm == ("svn" if category == "carpet" else "cvn")
        assert detector.spec.network.levels == 2  # given, so that it stands above the preset's 8
        assert (detector.training["images"], detector.training["held_out"]) == (12, 0)
        metrics = evaluate(detector, open_dataset(root, category)).metrics
        assert float(row["pixel_auroc"]) == 100 * metrics.pixel_auroc
        assert float(row["aupro@1.0"]) == 100 * metrics.aupro_10
        assert float(row["aupro@0.3"]) == 100 * metrics.aupro_03
    first = rows["carpet", "baseline"]
    assert (first["pixel_auroc_published"], first["aupro@1.0_published"]) == ("90.8", "91.0")
    assert float(first["pixel_auroc_difference"]) == float(first["pixel_auroc"]) - 90.8
    assert rows["carpet", "IV"]["pixel_auroc_published"] == "90.5"
    assert rows["plate", "IV"]["pixel_auroc_published"] == ""
    stored = json.loads((out / "tables.json").read_text())["rows"]
    assert [row["pixel_auroc"] for row in stored] == [
        float(r["pixel_auroc"]) for r in rows.values()
    ]
    assert f"carpet, baseline: Pixel-AUROC {float(first['pixel_auroc']):.1f} (90.8, " in printed


def test_what_is_finished_is_kept_until_a_setting_or_the_files_change(reproduced, root):
    reproduced()
    files = ["carpet/baseline.safetensors", "plate/baseline.safetensors"]
    code, _, err, out = reproduced()
    times = [(out / file).stat().st_mtime_ns for file in files]
    assert code == 0
    assert err.count("finished before") == 2
    assert [(out / file).stat().st_mtime_ns for file in files] == times
    assert not list(out.rglob("*.checkpoint.safetensors"))

    code, _, err, out = reproduced("--category", "plate", "--epochs", 3)
    assert "1 of 1: plate, baseline: stale: epochs was 2 and is 3" in err
    assert Detector.load(out / "plate" / "baseline.safetensors").training["epochs"] == 3
    rows = rows_of(out)
    assert rows["carpet", "baseline"]["problem"] == "stale: epochs was 2 and is 3"
    assert rows["carpet", "baseline"]["pixel_auroc"] == ""
    assert code == 0  # carpet was not asked for

    write_image(root / "plate" / "test" / "good" / "new.png", np.random.default_rng(5))
    _, _, err, _ = reproduced("--category", "plate", "--epochs", 3)
    assert "stale: files_digest was" in err


def test_variants_of_an_earlier_run_stay_in_the_tables(reproduced):
    reproduced("--category", "plate", "--ablation", "III")
    _, _, _, out = reproduced("--category", "plate")
    assert float(rows_of(out)["plate", "III"]["pixel_auroc"]) > 0
    # Without the pyramid's difference there is no spread: the variant does not go with it.
    code, _, _, out = reproduced("--category", "plate", "--spread", "pixel")
    assert code == 0
    assert {variant for _, variant in rows_of(out)} == {"baseline"}


def test_a_category_that_fails_is_recorded_and_tried_again(reproduced, root):
    bad = training_images(root / "carpet")[3]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    shutil.rmtree(root / "plate" / "test")
    shutil.copytree(root / "carpet", root / "wood")
    code, printed, err, out = reproduced()
    assert code == 2
    assert f"carpet, baseline failed: {bad}" in err
    assert "plate, baseline failed: " in err
    assert "has no test images" in err
    assert json.loads((out / "carpet" / "baseline.json").read_text())["error"].startswith(str(bad))
    training_images(root / "wood")[3].write_bytes(whole)
    bad.write_bytes(whole)
    code, printed, err, out = reproduced()
    assert code == 2
    assert "wood, baseline: Pixel-AUROC" in printed
    assert "carpet, baseline: Pixel-AUROC" in printed
    assert "error: plate, baseline: failed: " in err
    assert "plate, baseline: failed" in (out / "tables.md").read_text()


def test_a_test_image_that_is_not_in_the_numbers_is_named_each_time(reproduced, root):
    image = root / "plate" / "test" / "dent" / "001.png"
    image.write_bytes(image.read_bytes()[:60])
    for _ in range(2):
        code, printed, err, out = reproduced()
        assert code == 2
        assert f"error: plate, baseline: {image}" in err
        assert "plate, baseline: Pixel-AUROC" in printed
    assert "## Test images that are not in the numbers" in (out / "tables.md").read_text()


def test_a_result_with_the_older_name_of_the_lift_is_not_stale(reproduced):
    _, _, _, out = reproduced("--category", "plate")
    file = out / "plate" / "baseline.json"
    stored = json.loads(file.read_text())
    assert stored["conditions"]["encoder"] == "lift"
    stored["conditions"]["encoder"] = "none"
    file.write_text(json.dumps(stored))
    code, _, err, _ = reproduced("--category", "plate")
    assert code == 0
    assert "plate, baseline: finished before" in err


@pytest.fixture
def stopped_at(monkeypatch):
    """Make a training send itself Ctrl-C at its step of a number, once."""
    step, steps = Adam.step, []

    def arm(number):
        def counted(self, *arguments, **named):
            steps.append(number)
            if len(steps) == number:
                os.kill(os.getpid(), signal.SIGINT)
            return step(self, *arguments, **named)

        monkeypatch.setattr(Adam, "step", counted)

    return arm


def test_an_interrupted_run_goes_on_to_the_same_bits(reproduced, run, root, tmp_path, stopped_at):
    run("reproduce", root, "--output", tmp_path / "straight", *SMALL)
    stopped_at(15)  # of 6 in an epoch and 12 in a training: the second category's third
    code, _, err, out = reproduced()
    assert code == 130
    assert "interrupted: stopped in plate, baseline: the same command goes on from there." in err
    assert (out / "plate" / "baseline.checkpoint.safetensors").exists()
    assert rows_of(out)["plate", "baseline"]["problem"] == "not trained yet"
    code, _, err, out = reproduced()
    assert code == 0
    assert "1 of 2: carpet, baseline: finished before" in err
    assert "2 of 2: plate, baseline: not finished" in err
    assert "epoch 1/2" in err
    straight = load_file(tmp_path / "straight" / "plate" / "baseline.safetensors")
    resumed = load_file(out / "plate" / "baseline.safetensors")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_checkpoint_of_another_training_is_started_anew(reproduced, stopped_at):
    stopped_at(3)
    code, *_ = reproduced("--category", "plate")
    assert code == 130
    code, _, err, _ = reproduced("--category", "plate", "--seed", 1)
    assert code == 0
    assert "plate, baseline starts anew: the checkpoint" in err
    assert "seed" in err


def test_other_encoder_weights_are_not_taken_from_a_checkpoint(run, root, tmp_path, stopped_at):
    from torchvision.models import resnet18

    def command(weights):
        options = ["--levels", 2, "--stacks", 1, "--kernel-size", 3, "--epochs", 1]
        options += ["--image-size", 32, "--encoder", "resnet18", "--encoder-weights", weights]
        return run("reproduce", root, "--category", "plate", "--output", tmp_path / "o", *options)

    for seed in range(2):
        torch.manual_seed(seed)
        save_file(resnet18(weights=None).state_dict(), tmp_path / f"{seed}.safetensors")
    stopped_at(2)
    assert command(tmp_path / "0.safetensors")[0] == 130
    assert command(tmp_path / "1.safetensors")[0] == 0
    wanted = load_file(tmp_path / "1.safetensors")["conv1.weight"]
    found = Detector.load(tmp_path / "o" / "plate" / "baseline.safetensors")
    assert torch.equal(found.model.encoder.conv1.weight, wanted)


def test_a_damaged_record_is_made_again(reproduced):
    _, _, _, out = reproduced("--category", "plate")
    (out / "plate" / "baseline.json").write_text('{"conditions": 3}')
    code, _, err, _ = reproduced("--category", "plate")
    assert code == 0
    assert "plate, baseline: not trained yet" in err


def test_a_setting_that_an_older_version_did_not_know_had_its_default(reproduced):
    _, _, _, out = reproduced("--category", "plate", "--batch-size", 3)
    file = out / "plate" / "baseline.json"
    record = json.loads(file.read_text())
    del record["conditions"]["tolerance"]  # has its default
    file.write_text(json.dumps(record))
    _, _, err, _ = reproduced("--category", "plate", "--batch-size", 3)
    assert "finished before" in err
    del record["conditions"]["batch_size"]
    file.write_text(json.dumps(record))
    _, _, err, _ = reproduced("--category", "plate", "--batch-size", 3)
    assert "stale: batch_size was 4 and is 3" in err


def test_input_is_refused_before_any_training(reproduced, run, root, tmp_path):
    code, _, err, out = reproduced("--category", "plato")
    assert_one_sentence(code, err, "'plato'", "the nearest, plate")
    code, _, err, _ = reproduced("--preset", "none")
    assert_one_sentence(code, err, "the preset is 'none'")
    code, _, err, _ = reproduced("--ablation", "V")
    assert_one_sentence(code, err, "--ablation V")
    code, _, err, _ = reproduced("--without", "template")
    assert_one_sentence(code, err, "--without")
    code, _, err, _ = reproduced("--ablation", "III", "--light")
    assert_one_sentence(code, err, "without pyramid-difference")
    code, _, err = run("reproduce", tmp_path / "none", "--output", out)
    assert_one_sentence(code, err, "no such folder")
    assert not out.exists()


def test_one_category_by_itself_is_taken(run, root, tmp_path):
    code, printed, _ = run("reproduce", root / "carpet", "--output", tmp_path / "o", *SMALL)
    assert code == 0
    assert printed.startswith("carpet, baseline: Pixel-AUROC ")
    assert "(90.8, " in printed


@pytest.mark.skipif(
    not REDUCED.is_dir(),
    reason="the images are not beside the project in shared/data/mvtec_reduced",
)
def test_real_parts_are_measured(run, tmp_path):
    code, _, _ = run("reproduce", REDUCED, "--output", tmp_path / "o", *SMALL, "--image-size", 32)
    assert code == 0
    row = rows_of(tmp_path / "o")["transistor", "baseline"]
    assert row["source"] == "table S2"
    assert float(row["pixel_auroc"]) > 70

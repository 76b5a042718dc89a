"""Thresholds count for the scores that they were made for, and the file says for which."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.detector.scoring import Scoring
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.line import Line, open_inspector
from pyramidflow.spec import VerdictRule

STALE = "the thresholds were made for scores with"


@pytest.fixture
def detector(tiny_detector_file):
    return Detector.load(tiny_detector_file)


@pytest.fixture
def good(tiny_set):
    return tiny_set / "test" / "good"


@pytest.fixture
def mask_file(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    Image.fromarray(pixels).save(tmp_path / "upper.png")
    return tmp_path / "upper.png"


def as_before_this_setting(source, target):
    """The same file as a version wrote it that said nothing of the scores."""
    header, tensors = load_tensors(source, "detector")
    del header["calibration"]["scored_by"]
    for name in ("kind", "digest", "format_version"):
        header.pop(name, None)
    save_tensors(target, "detector", header, tensors)
    return target


@pytest.mark.parametrize(
    "settings",
    [
        {"minimum_area": 20},
        {"smoothing": 1.0},
        {"region_of_interest": (0, 0, 0.5, 1)},
        {"exclude": "rect:0,0,3,3px"},
        {"exclude": "mask:"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_thresholds_for_other_scores_judge_nothing(
    detector, tiny_set, good, mask_file, tmp_path, settings
):
    if settings.get("exclude") == "mask:":
        settings = {"exclude": f"mask:{mask_file}"}
    path = tmp_path / "changed.safetensors"
    with pytest.warns(CalibrationWarning, match=STALE):
        detector.set_verdict(**settings)
    detector.save(path)
    for changed in (detector, Detector.load(path)):
        with pytest.raises(InputError, match=f"{STALE} {next(iter(settings))} .*: calibrate on"):
            changed.inspect(sorted(good.iterdir())[0])
        with pytest.raises(InputError, match=STALE):
            evaluate(changed, open_dataset(tiny_set))
    with pytest.raises(InputError, match=rf"changed\.safetensors: {STALE}"):
        open_inspector(path, {}, "cpu")
    station = {"name": "press", "detector": str(path), "source": {"kind": "python"}}
    with pytest.raises(InputError, match=STALE):
        Line({"store": str(tmp_path / "line.sqlite"), "stations": [station]})
    detector.calibrate(good)
    detector.save(path)
    assert Detector.load(path).inspect(sorted(good.iterdir())[0]).verdict == "ok"
    assert open_inspector(path, {}, "cpu").thresholds["threshold"] == detector.threshold


def test_what_leaves_the_scores_leaves_the_thresholds(detector, good, mask_file, tmp_path):
    """A scale, the same area in millimetres, another order, another name of the same picture."""
    other = tmp_path / "other.png"
    other.write_bytes(mask_file.read_bytes())
    areas = [f"mask:{mask_file}", "rect:0,0,0.5,0.5"]
    detector.calibrate(good, minimum_area=8, region_of_interest=areas)
    image = sorted(good.iterdir())[0]
    before = detector.inspect(image)
    for settings in (
        {"scale": 0.5},
        {"minimum_area": "2mm2"},
        {"region_of_interest": ["rect:0,0,0.5,0.5", f"mask:{other}"]},
    ):
        detector.set_verdict(**settings)
        found = detector.inspect(image)
        assert (found.score, found.verdict) == (before.score, before.verdict)


def test_a_mask_picture_with_other_pixels_is_another_one(detector, good, mask_file):
    detector.calibrate(good, exclude=f"mask:{mask_file}")
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(mask_file)
    with pytest.warns(CalibrationWarning, match="exclude mask:"):
        detector.set_verdict(exclude=f"mask:{mask_file}")
    with pytest.raises(InputError, match=STALE):
        detector.inspect(sorted(good.iterdir())[0])


def test_the_way_back_leads_to_the_old_thresholds(detector, good):
    image = sorted(good.iterdir())[0]
    before = detector.inspect(image).as_dict()
    with pytest.warns(CalibrationWarning):
        detector.set_verdict(smoothing=1.0)
    detector.set_verdict(smoothing=0.0)
    assert detector.inspect(image).as_dict() == before


def test_thresholds_by_hand_count_for_the_scores_of_their_time(detector, good):
    image = sorted(good.iterdir())[0]
    with pytest.warns(CalibrationWarning):
        detector.set_verdict(smoothing=1.0)
    detector.threshold = 1e6
    assert detector.inspect(image).verdict == "ok"
    with pytest.warns(CalibrationWarning):
        detector.set_verdict(minimum_area=9)
    with pytest.raises(InputError, match=STALE):
        detector.inspect(image)
    session = detector.session.with_thresholds(1e5)
    assert session.inspect(image).threshold == 1e5
    detector.threshold = None
    assert detector.inspect(image).verdict is None


def test_no_lower_threshold_stays_from_other_scores(detector, good):
    detector.calibrate(good, 0.2, 0.5)
    detector.pixel_threshold = 0.125
    with pytest.warns(CalibrationWarning):
        detector.set_verdict(smoothing=1.0)
    for set_one in (
        lambda: setattr(detector, "threshold", 5.0),
        lambda: detector.set_thresholds(5.0, 1.0),
        lambda: detector.session.with_thresholds(5.0, pixel_threshold=1.0),
    ):
        with pytest.raises(InputError, match=r"(review|pixel)_threshold is .* would stay"):
            set_one()
    detector.set_thresholds(5.0, 1.0, 0.5)
    found = detector.inspect(sorted(good.iterdir())[0])
    assert (found.threshold, found.review_threshold, found.pixel_threshold) == (5.0, 1.0, 0.5)


def test_an_older_file_is_read_and_asks_once_its_settings_change(
    detector, tiny_detector_file, good, tmp_path
):
    image = sorted(good.iterdir())[0]
    path = as_before_this_setting(tiny_detector_file, tmp_path / "older.safetensors")
    older = Detector.load(path)
    assert "scored_by" not in older.calibration
    assert older.inspect(image).as_dict() == detector.inspect(image).as_dict()
    with pytest.warns(CalibrationWarning, match=STALE):
        older.set_verdict(smoothing=1.0)
    with pytest.raises(InputError, match=STALE):
        older.inspect(image)


def test_the_file_says_for_which_scores_its_thresholds_are(detector, good, mask_file, tmp_path):
    detector.calibrate(good, minimum_area="2mm2", scale=0.5, exclude=f"mask:{mask_file}")
    detector.save(tmp_path / "a.safetensors")
    again = Detector.load(tmp_path / "a.safetensors").calibration["scored_by"]
    assert again == detector.calibration["scored_by"]
    [area] = again.pop("exclude")
    assert area.startswith("mask:")
    assert str(mask_file) not in area
    assert again == {"region_of_interest": [], "smoothing": 0.0, "minimum_area": 8.0}


@pytest.mark.parametrize("stored", [7, {"smoothing": -1}, {"speed": 1}, {"exclude": "rect"}])
def test_a_forged_record_is_refused(tiny_detector_file, tmp_path, stored):
    header, tensors = load_tensors(tiny_detector_file, "detector")
    header["calibration"]["scored_by"] = stored
    for name in ("kind", "digest", "format_version"):
        header.pop(name, None)
    save_tensors(tmp_path / "forged.safetensors", "detector", header, tensors)
    with pytest.raises(InputError, match=r"forged\.safetensors does not describe a detector"):
        Detector.load(tmp_path / "forged.safetensors")


def test_a_scoring_tells_what_differs():
    one = Scoring.of(VerdictRule(smoothing=1.5, minimum_area=20), ())
    other = Scoring.of(VerdictRule(exclude="rect:0,0,0.5,1"), ())
    assert one.difference(other) == "exclude nothing, smoothing 1.5, minimum_area 20"
    assert other.difference(one) == "exclude rect:0,0,0.5,1, smoothing 0, minimum_area 0"
    assert one.difference(one) == ""
    whole = Scoring.of(VerdictRule(region_of_interest="mask:a"), (torch.ones(2, 3),))
    assert whole != Scoring.of(VerdictRule(region_of_interest="mask:a"), (torch.ones(3, 2),))


def test_commands_write_no_file_with_thresholds_for_other_scores(
    run, detector, tiny_detector_file, tiny_set, good, tmp_path
):
    model = tmp_path / "part.safetensors"
    with pytest.warns(CalibrationWarning):
        detector.set_verdict(smoothing=1.0)
    detector.save(model)
    before = model.read_bytes()
    _, out, _ = run("info", model)
    assert "NOT VALID" in out
    assert f"{STALE} smoothing 0, and now it is smoothing 1" in out
    for options in (("--scale", "0.5"), ("--review-threshold", "0.001")):
        code, _, err = run("calibrate", "--model", model, *options)
        assert (code, err.count("\n")) == (2, 1)
        assert STALE in err
        assert model.read_bytes() == before
    for options in (
        ("inspect", good, "--output", tmp_path / "out"),
        ("evaluate", tiny_set, "--output", tmp_path / "report"),
    ):
        code, _, err = run(*options, "--model", model)
        assert code == 2
        assert STALE in err
    code, out, err = run("calibrate", good, "--model", model)
    assert code == 0, err
    assert "NOT VALID" not in out
    code, out, _ = run("info", model)
    assert "NOT VALID" not in out
    _, out, _ = run("info", "--json", model)
    assert json.loads(out)["calibration"]["scored_by"]["smoothing"] == 1.0
    older = as_before_this_setting(tiny_detector_file, tmp_path / "older.safetensors")
    _, out, _ = run("info", older)
    assert "older file does not say" in out

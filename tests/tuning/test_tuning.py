"""Settings that are chosen on good images alone."""

import os
import signal
import sys

import numpy as np
import pytest
import torch

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.detector.artifact import read_header
from pyramidflow.detector.scoring import Scoring
from pyramidflow.errors import InputError
from pyramidflow.interrupt import Interrupted
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.spec import PLAIN_CONTRAST
from pyramidflow.tuning import Choice, measuring, search, tune
from tests.support.part_sets import in_changing_light, ramp, save, with_uneven_noise
from tests.support.tiny import TINY

LIGHT, SPREAD = Choice.of("light"), Choice.of("spread")


def write_set(root, part, images=40):
    """Good parts to train on, and test images that nothing can open."""
    rng = np.random.default_rng(0)
    for i in range(images):
        save(root / "train" / "good" / f"{i:02}.png", part(rng))
    for kind in ("good", "dent"):
        (root / "test" / kind).mkdir(parents=True)
        (root / "test" / kind / "0.png").write_bytes(b"never to be opened")
    return root


def slender(rng):
    stripes = 20 * (np.arange(160) // 4 % 2)[:, None, None]
    return ramp((160, 32)) + stripes + rng.normal(0, 3, (160, 32, 3))


@pytest.fixture(scope="module")
def lit_set(tmp_path_factory):
    return open_dataset(write_set(tmp_path_factory.mktemp("lit") / "plate", in_changing_light))


def detector(**settings):
    plain = PLAIN_CONTRAST.as_dict()
    settings = {**TINY, **plain, "volume_norm": "svn", "epochs": 2, **settings}
    return Detector(settings.pop("image_size", 32), device="cpu", **settings)


@pytest.fixture(scope="module")
def lit_tuned(lit_set):
    return tune(detector(), lit_set, choices=(LIGHT, SPREAD))


def outcomes(tuned):
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in tuned.tuning]


def test_light_is_taken_where_the_light_changes(lit_tuned):
    assert lit_tuned.spec.contrast.light
    assert lit_tuned.template is None
    first, light, *_ = lit_tuned.tuning
    assert first["settings"] == []
    assert first["gain"] is None
    assert light["settings"] == ["light=true"]
    assert light["chosen"]
    assert light["gain"] > light["needed"] > 0


def test_spread_is_taken_where_good_parts_differ_in_places(tmp_path):
    data = open_dataset(write_set(tmp_path / "plate", with_uneven_noise))
    found = tune(detector(), data, choices=(LIGHT, SPREAD))
    assert found.spec.contrast.spread == "pixel"
    assert not found.spec.contrast.light


def test_trials_are_judged_by_the_verdict_of_the_detector(lit_set, tmp_path, monkeypatch):
    seen, usual = [], measuring.Exam.taken_by

    def taken_by(self, session, *more):
        seen.append(session.scoring)
        return usual(self, session, *more)

    monkeypatch.setattr(measuring.Exam, "taken_by", taken_by)
    save(tmp_path / "mask.png", np.full((8, 8), 255) * (np.arange(8) < 6))
    areas = {"region_of_interest": f"mask:{tmp_path / 'mask.png'}", "exclude": "rect:0,0,8,32px"}
    given = detector(**areas, minimum_area=12, smoothing=0.5)
    tune(given, lit_set, choices=(SPREAD,))
    assert len(seen) == 3
    assert set(seen) == {Scoring.of(given.spec.rule, given.masks)}


def test_the_aspect_is_kept_where_parts_are_long(tmp_path):
    data = open_dataset(write_set(tmp_path / "plate", slender))
    found = tune(detector(), data, choices=(Choice.of("image_size", "auto"),))
    assert found.preprocessing.size == (72, 14)
    assert found.tuning[-1]["settings"] == ["image_size=72x14"]


def test_what_gains_nothing_is_not_taken(lit_set, monkeypatch):
    monkeypatch.setattr(search, "LEAST_GAIN", 1.0)
    found = tune(detector(), lit_set, choices=(LIGHT,))
    assert found.spec == detector().spec
    assert [trial["chosen"] for trial in found.tuning] == [True, False]


def test_given_settings_and_contradictions_are_left_alone(lit_set):
    book = Choice(({"codebook": 0.5},))
    given = detector(spread="pixel")
    found = tune(given, lit_set, choices=(LIGHT, SPREAD, book), keep=("light", "spread"))
    assert found.spec == given.spec
    assert len(found.tuning) == 1  # a codebook has no spread


class Stopping:
    """Asks the process to stop when a certain trial begins."""

    def __init__(self, at):
        self.left = at
        self.begun = []

    def begin(self, settings, training):
        self.begun.append(tuple(settings))
        if len(self.begun) == self.left:
            os.kill(os.getpid(), signal.SIGINT)

    def note(self, sentence):
        pass

    def tried(self, trial):
        pass


def test_a_stopped_tuning_goes_on_to_the_same_choice(lit_set, lit_tuned, tmp_path):
    file = tmp_path / "part.tuning.json"
    with pytest.raises(Interrupted, match="--resume"):
        tune(detector(), lit_set, choices=(LIGHT, SPREAD), results=file, progress=Stopping(3))
    rest = Stopping(None)
    found = tune(
        detector(),
        lit_set,
        choices=(LIGHT, SPREAD),
        results=file,
        resume=True,
        progress=rest,
    )
    assert found.spec == lit_tuned.spec
    assert outcomes(found) == outcomes(lit_tuned)  # all of it repeats
    assert () not in rest.begun
    assert ("light=true",) not in rest.begun
    with pytest.raises(InputError, match="other images, settings or encoder weights"):
        tune(detector(epochs=9), lit_set, choices=(LIGHT,), results=file, resume=True)
    file.write_text('{"identity": "", "results": [{"settings": 3}]}')
    with pytest.raises(InputError, match="holds no results"):
        tune(detector(), lit_set, choices=(LIGHT,), results=file, resume=True)


def test_a_changed_detector_has_the_encoder_s_weights():
    given = Detector(32, encoder=torch.nn.Conv2d(3, 4, 1), **TINY, device="cpu")
    found = given.changed(volume_norm="svn", light=True)
    assert found.spec == given.spec.changed(volume_norm="svn", light=True)
    assert found.model.encoder is not given.model.encoder
    ours, theirs = found.model.encoder.state_dict(), given.model.encoder.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert found.template is None


def test_few_images_are_refused(tmp_path):
    data = open_dataset(write_set(tmp_path / "plate", in_changing_light, images=11))
    with pytest.raises(InputError, match="9 good images are there to choose settings from"):
        tune(detector(), data)


@pytest.fixture(scope="module")
def tuned_file(lit_tuned, lit_set, tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "plate.safetensors"
    lit_tuned.fit(lit_set, show_progress=False).save(path)
    return path


def test_the_training_is_that_of_the_chosen_settings(tuned_file, lit_set):
    tuned = Detector.load(tuned_file, device="cpu")
    plain = Detector(spec=tuned.spec, device="cpu").fit(lit_set, show_progress=False)
    for ours, theirs in zip(tuned.template, plain.template, strict=True):
        assert torch.equal(ours, theirs)
    assert tuned.threshold == plain.threshold
    assert plain.tuning == []


def test_the_file_says_how_settings_were_chosen(tuned_file, lit_tuned, run):
    assert Detector.load(tuned_file, device="cpu").tuning == lit_tuned.tuning
    code, out, _ = run("info", tuned_file)
    assert code == 0
    assert "light=true" in out
    assert f"{100 * lit_tuned.tuning[1]['criterion']:.1f}" in out


@pytest.mark.parametrize(
    "change",
    [
        lambda tuning: {"a": 1},
        lambda tuning: [1],
        lambda tuning: [{**tuning[0], "criterion": 2}],
        lambda tuning: [{**tuning[0], "criterion": "high"}],
        lambda tuning: [{**tuning[0], "settings": "light"}],
        lambda tuning: [{**tuning[0], "unknown": 1}],
        lambda tuning: [{k: v for k, v in tuning[0].items() if k != "aupro"}],
    ],
)
def test_forged_trials_are_refused(tuned_file, tmp_path, change):
    header, tensors = load_tensors(tuned_file, "detector")
    del header["digest"]
    header["tuning"] = change(header["tuning"])
    path = tmp_path / "forged.safetensors"
    save_tensors(path, "detector", header, tensors)
    with pytest.raises(InputError, match=r"forged\.safetensors"):
        read_header(path)


def test_files_without_trials_are_read(tuned_file, tmp_path):
    header, tensors = load_tensors(tuned_file, "detector")
    del header["digest"], header["tuning"]
    save_tensors(tmp_path / "older.safetensors", "detector", header, tensors)
    assert read_header(tmp_path / "older.safetensors").trials == ()


OPENED = []
"""Files that this process opened while ``WATCHING`` held something."""

WATCHING = []


def watch(event, arguments):
    if event == "open" and WATCHING:
        OPENED.append(str(arguments[0]))


def test_no_test_image_is_opened(tmp_path, run, monkeypatch):
    choices = {**tune.__kwdefaults__, "choices": (LIGHT,)}
    monkeypatch.setattr(tune, "__kwdefaults__", choices)
    root = write_set(tmp_path / "plate", in_changing_light)
    sys.addaudithook(watch)  # it stays until the process ends, but notes nothing then
    WATCHING.append(True)
    options = ("--channels", 4, "--levels", 2, "--stacks", 1, "--kernel-size", 3, "--epochs", 2)
    try:
        code, out, err = run(
            *("train", root, "--output", tmp_path / "a.safetensors", "--tune"),
            *("--image-size", 32, "--volume-norm", "svn", "--device", "cpu", *options),
        )
    finally:
        WATCHING.clear()
    assert code == 0, err
    assert sum(name.startswith(str(root / "train")) for name in OPENED) >= 20
    assert not [name for name in OPENED if str(root / "test") in name]
    assert "light=false" in out
    assert "light=false" in err
    assert read_header(tmp_path / "a.safetensors").spec.contrast.light

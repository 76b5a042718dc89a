"""Sessions: immutable, thread-safe, and honest about what they cannot do."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector, ops
from pyramidflow.detector import Session
from pyramidflow.detector.calibration import TOLERANCES, Calibration
from pyramidflow.detector.findings import Region, find_regions, image_map
from pyramidflow.detector.verdict import judge
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.ops.libraries.cpu import has_bfloat16
from pyramidflow.runtime import EagerRuntime, InspectionSettings
from tests.support.tiny import TINY, write_image


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (20 + i, 30, 3)).astype(np.uint8) for i in range(12)]


def test_inspections_stay_right_while_sessions_are_made_anew(detector, pictures):
    expected = [detector.inspect(picture).score for picture in pictures]
    stop, wrong = threading.Event(), []

    def look(index):
        while not stop.is_set():
            if detector.inspect(pictures[index]).score != expected[index]:
                wrong.append(index)

    with ThreadPoolExecutor(8) as pool:
        looking = [pool.submit(look, index) for index in range(8)]
        for threads in [1, 2] * 15:
            detector.prepare(threads=threads)
        stop.set()
        for future in looking:
            future.result()
    assert wrong == []


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_detectors_can_be_copied_and_pickled(detector, pictures, again):
    expected = detector.inspect(pictures[0])
    other = again(detector)
    found = other.inspect(pictures[0])
    assert found.as_dict() == expected.as_dict()
    assert other.spec == detector.spec
    other.threshold = 1e-6
    assert detector.threshold == expected.threshold


def test_any_iterable_is_a_batch(detector, pictures):
    expected = [found.score for found in detector.inspect(pictures)]
    for batch in (tuple(pictures), iter(pictures), (p for p in pictures), dict.fromkeys(range(2))):
        if isinstance(batch, dict):
            with pytest.raises(InputError, match="int"):
                detector.inspect(batch)
            continue
        assert [found.score for found in detector.inspect(batch)] == expected
    session = detector.session
    assert [found.score for found in session.inspect_many(iter(pictures))] == expected


def test_one_bad_image_leaves_the_session_usable(detector, pictures):
    with pytest.raises(InputError):
        detector.inspect([pictures[0], np.zeros((3, 3), np.float32)])
    assert detector.inspect(pictures[0]).score > 0


@pytest.mark.parametrize("name", ["model", "template", "preprocessing", "spec", "session"])
def test_parts_of_a_detector_are_not_assignable(detector, name):
    with pytest.raises(AttributeError):
        setattr(detector, name, None)


def test_weights_that_are_changed_in_place_count(detector, pictures):
    before = detector.inspect(pictures[0]).score
    with torch.no_grad():
        detector.model.flow.blocks[0].conv1x1.lower.add_(0.5 * torch.tril(torch.ones(4, 4), -1))
    changed = detector.inspect(pictures[0]).score
    assert changed != before
    with ops.use_backend("reference"):
        assert detector.inspect(pictures[0]).score == pytest.approx(changed, rel=1e-5)


def test_a_template_that_is_changed_in_place_counts(detector, pictures):
    before = detector.inspect(pictures[0]).score
    detector.template[1][..., ::2].add_(1.0)
    changed = detector.inspect(pictures[0]).score
    assert changed != before
    assert copy.deepcopy(detector).inspect(pictures[0]).score == changed


def test_data_that_is_replaced_counts(detector, pictures):
    before = detector.inspect(pictures[0]).score
    weight = detector.model.flow.blocks[0].affine_params.conv2.weight
    weight.data = torch.ones_like(weight)
    changed = detector.inspect(pictures[0]).score
    assert changed != before
    assert copy.deepcopy(detector).inspect(pictures[0]).score == changed


def test_inspecting_trains_nothing(detector, pictures):
    """In training mode a network takes an image's own means, and moves its running ones."""
    with ops.use_backend("reference"):
        expected = detector.inspect(pictures[0]).score
        detector.model.train()
        assert detector.inspect(pictures[0]).score == expected
        assert not detector.model.training
        assert detector.inspect(pictures[0]).score == expected


def test_a_detector_has_a_threshold_all_the_time_that_it_is_trained(detector, tiny_set, pictures):
    stop, missing = threading.Event(), []

    def look():
        while not stop.is_set():
            found = detector.inspect(pictures[0])
            if found.threshold is None:
                missing.append(found)

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(4)]
        detector.fit(tiny_set, epochs=1, validation_share=0.25, show_progress=False)
        stop.set()
        for future in looking:
            future.result()
    assert missing == []


def test_a_calibration_of_a_detector_that_is_changed_meanwhile_is_refused(detector, pictures):
    def good():
        yield pictures[0]
        detector.region_of_interest = (0.0, 0.0, 0.5, 0.5)
        yield pictures[1]

    before = detector.threshold
    with pytest.raises(InputError, match="was changed while it was calibrated"):
        detector.calibrate(good())
    assert detector.threshold == before


def test_a_session_made_of_the_detector_as_it_was_is_not_kept(detector, pictures):
    """As when a thread makes one while another sets threshold and region."""
    as_it_was = detector._artifact
    detector.threshold = None
    detector.region_of_interest = (0.0, 0.0, 0.5, 0.5)
    detector.threshold = 123.0
    old = detector._current.renew(as_it_was, detector.device, InspectionSettings())
    assert old.threshold != 123.0
    found = detector.inspect(pictures[0])
    assert found.threshold == 123.0
    assert found.anomaly_map[:, 16:].max() == 0


FORK = """
import multiprocessing, sys, threading
import numpy as np, torch
from pyramidflow import Detector
from pyramidflow.errors import InputError
torch.set_num_threads(2)
picture = np.zeros((512, 512, 3), np.uint8)
detector = Detector.load(sys.argv[1])
session = detector.session
expected = detector.inspect(picture).score
torch.ones(1 << 22).mul(2.0).sum()  # PyTorch's own threads are there, too
stop = threading.Event()
def look():
    while not stop.is_set():
        detector.inspect(picture)
looking = threading.Thread(target=look)
looking.start()
def child():
    assert detector.inspect(picture).score == expected
    assert Detector.load(sys.argv[1]).inspect(picture).score == expected
    for refused in (lambda: session.inspect(picture), lambda: detector.prepare(threads=2)):
        try:
            refused()
        except InputError as error:
            assert "forked" in str(error)
        else:
            sys.exit(5)
processes = [multiprocessing.get_context("fork").Process(target=child) for _ in range(3)]
for process in processes:
    process.start()
for process in processes:
    process.join(40)
    process.kill()
stop.set()
looking.join()
print([process.exitcode for process in processes])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_processes_inspect_or_refuse_and_never_wait_for_ever(tiny_detector_file):
    """OpenMP's threads do not live on in a forked process; waiting for them would not end."""
    command = [sys.executable, "-c", FORK, str(tiny_detector_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == "[0, 0, 0]", done.stderr[-2000:]


def test_a_backend_asked_for_by_name_is_taken(detector, pictures):
    fast = detector.inspect(pictures[0])
    with ops.use_backend("reference"):
        assert isinstance(detector.session.runtime, EagerRuntime)
        plain = detector.inspect(pictures[0])
    np.testing.assert_allclose(plain.anomaly_map, fast.anomaly_map, rtol=1e-4, atol=1e-6)
    assert not isinstance(detector.session.runtime, EagerRuntime)


def test_a_session_keeps_what_it_was_made_with(detector, pictures):
    session = detector.session
    threshold, score = session.threshold, session.inspect(pictures[0]).score
    detector.threshold = None
    detector.region_of_interest = (0.0, 0.0, 0.5, 0.5)
    detector.threshold = 123.0
    assert (session.threshold, session.inspect(pictures[0]).score) == (threshold, score)
    assert detector.inspect(pictures[0]).threshold == 123.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "0.5", True, 1 + 1j])
def test_thresholds_that_are_none_are_refused(detector, value):
    before = detector.threshold
    with pytest.raises(InputError, match="threshold is"):
        detector.threshold = value
    assert detector.threshold == before


def test_a_threshold_by_hand_says_so(detector, tmp_path):
    assert detector.calibration["source"] == "held-out"
    detector.threshold = np.float32(0.25)
    assert detector.calibration == {
        "threshold": 0.25,
        "source": "by hand",
        "images": 0,
        "trained_on": 0,
        "tolerance": 0.0,
        "scored_by": {
            "region_of_interest": [],
            "exclude": [],
            "smoothing": 0.0,
            "minimum_area": 0.0,
        },
    }
    detector.save(tmp_path / "hand.safetensors")
    assert Detector.load(tmp_path / "hand.safetensors").calibration["source"] == "by hand"


def test_scores_that_are_not_finite_get_no_verdict(detector, pictures):
    with torch.no_grad():
        detector.model.flow.blocks[0].conv1x1.log_diagonal[0] = 1e30
    with pytest.raises(InputError, match=r"the score is (nan|inf): a finite number is expected"):
        detector.inspect(pictures[0])
    for score in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="a finite number is expected"):
            judge(score, 1.0)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_image_that_is_the_threshold_is_good_on_every_backend(detector, pictures, backend):
    detector.calibrate(pictures, 0.01)
    with ops.use_backend(backend):
        assert [found.verdict for found in detector.inspect(pictures)] == ["ok"] * len(pictures)


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no AVX-512 BF16")
def test_a_coarser_precision_widens_the_tolerance(detector, pictures):
    detector.calibrate(pictures, 0.01)
    assert detector.calibration["precision"] == "float32"
    exact = detector.threshold
    session = detector.prepare(precision="bfloat16")
    wider = (1 + TOLERANCES["bfloat16"]) / (1 + TOLERANCES["float32"])
    assert session.threshold == pytest.approx(exact * wider)
    assert [found.verdict for found in detector.inspect(pictures)] == ["ok"] * len(pictures)
    detector.calibrate(pictures, 0.01)
    assert detector.calibration["precision"] == "bfloat16"
    assert session.conditions.precision == "bfloat16"


def test_thresholds_by_hand_are_taken_as_they_are():
    assert Calibration.by_hand(2.0).threshold_at("bfloat16") == 2.0


def test_calibrating_on_training_images_is_said(detector, tiny_set):
    images = sorted((tiny_set / "train" / "good").iterdir())
    with pytest.warns(CalibrationWarning, match="9 of the 12 images .* were trained on"):
        detector.calibrate(images)
    assert detector.calibration["trained_on"] == 9


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (250, 333), (9, 7), (2, 2), (1, 1)])
def test_the_score_is_in_the_map_that_is_handed_out(detector, size):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    detector.threshold = 1e-3
    found = detector.inspect(picture)
    assert found.anomaly_map.shape == size
    assert found.anomaly_map.max() == np.float32(found.score)
    assert found.verdict == "ng"
    for region in found.regions:
        x, y = region.peak_at
        left, top, right, bottom = region.box
        assert left <= x < right
        assert top <= y < bottom
        assert found.anomaly_map[y, x] > found.threshold


def test_peaks_survive_a_map_that_shrinks():
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[1, 1], anomaly_map[6, 5] = 5, 4
    regions = find_regions(anomaly_map, 2.0, (4, 4))
    assert [region.peak_at for region in regions] == [(0, 0), (2, 3)]
    small = image_map(anomaly_map, regions, (4, 4))
    assert (small[0, 0], small[3, 2]) == (5, 4)
    assert find_regions(anomaly_map, 2.0, (8, 8))[1] == Region((5, 6, 6, 7), 1, 4.0, (5, 6))


@pytest.mark.parametrize("device", ["meta", "gpu", "cpu:99x", "mps", "", 3.5])
def test_devices_that_nothing_runs_on_are_refused(tiny_detector_file, device):
    with pytest.raises(InputError, match="cannot be used here"):
        Detector.load(tiny_detector_file, device=device)


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"memory_budget": -5}, {"precision": "half"}, {"max_pixels": 0}]
)
def test_sessions_refuse_what_they_cannot_honour(detector, pictures, settings):
    before = detector.inspect(pictures[0]).score
    with pytest.raises(InputError):
        detector.prepare(**settings)
    assert detector.inspect(pictures[0]).score == before


def test_files_larger_than_asked_for_are_refused(detector, pictures, tmp_path):
    path = tmp_path / "part.png"
    Image.fromarray(pictures[0]).save(path)  # 20×30
    detector.prepare(max_pixels=600)
    assert detector.inspect(path).score > 0
    detector.prepare(max_pixels=599)
    with pytest.raises(InputError, match="max-megapixels"):
        detector.inspect(path)


def test_failed_trainings_leave_the_detector_as_it_was(detector, pictures, tmp_path):
    before = detector.inspect(pictures[0]).as_dict()
    rng = np.random.default_rng(1)
    for index in range(4):
        write_image(tmp_path / f"{index}.png", rng)
    (tmp_path / "4.png").write_bytes((tmp_path / "3.png").read_bytes()[:200])
    (tmp_path / "5.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="2 of 6 images cannot be used") as caught:
        detector.fit(tmp_path, show_progress=False)
    assert "4.png" in str(caught.value)
    assert "5.png" in str(caught.value)
    assert detector.inspect(pictures[0]).as_dict() == before


def test_settings_by_name_and_by_spec_give_the_same_detector(tiny_set):
    by_name = Detector(16, **TINY, epochs=1, validation_share=0.25)
    by_spec = Detector(spec=by_name.spec)
    by_fit = Detector(16, **TINY)
    by_name.fit(tiny_set, show_progress=False)
    by_spec.fit(tiny_set, show_progress=False)
    by_fit.fit(tiny_set, epochs=1, validation_share=0.25, show_progress=False)
    assert by_name.spec == by_spec.spec == by_fit.spec
    assert by_name.threshold == by_spec.threshold == by_fit.threshold
    with pytest.raises(InputError, match="'epoch' is no setting of a training"):
        by_fit.fit(tiny_set, epoch=1)


def test_sessions_can_be_made_from_a_detector_s_parts(detector, pictures):
    session = Session(detector._artifact, torch.device("cpu"))
    assert session.inspect(pictures[0]).as_dict() == detector.inspect(pictures[0]).as_dict()
    times = session.inspect(pictures[0]).times
    assert times.inspecting > 0
    assert times.resizing > 0

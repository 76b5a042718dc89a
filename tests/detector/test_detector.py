"""The detector: calibration, inspection, the file."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pyramidflow import Detector, __version__
from pyramidflow.detector.calibration import TOLERANCES, Conditions, conformal_calibration
from pyramidflow.detector.findings import find_regions
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.io.files import write_atomically
from pyramidflow.io.tensors import load_tensors, read_header, save_tensors
from tests.support.tiny import TINY, write_image


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(7).integers(0, 256, (30, 50, 3)).astype(np.uint8)


def test_loaded_detector_is_bit_equal(tiny_set, tiny_detector_file, tmp_path):
    first = Detector.load(tiny_detector_file)
    copy = tmp_path / "copy.safetensors"
    first.save(copy)
    second = Detector.load(copy)
    for path in sorted((tiny_set / "test").rglob("*.png")):
        a, b = first.inspect(path), second.inspect(path)
        assert a.as_dict() == b.as_dict()
        assert np.array_equal(a.anomaly_map, b.anomaly_map)
    assert copy.read_bytes() == tiny_detector_file.read_bytes()


def test_every_kind_of_image_gives_the_same_result(detector, picture, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    expected = detector.inspect(picture)
    assert expected.anomaly_map.shape == (30, 50)
    assert expected.anomaly_map.dtype == np.float32
    kinds = [str(path), path, Image.fromarray(picture), picture.astype(np.uint16) * 257]
    for result in [detector.inspect(kind) for kind in kinds[:3]]:
        assert np.array_equal(result.anomaly_map, expected.anomaly_map)
    deep = detector.inspect(kinds[3])
    np.testing.assert_allclose(deep.score, expected.score, rtol=0.02)
    grey = picture[:, :, 0]
    as_rgb = np.stack([grey] * 3, axis=2)
    assert detector.inspect(grey).score == detector.inspect(as_rgb).score


def test_inspections_from_several_threads_do_not_mix(detector):
    rng = np.random.default_rng(0)
    side, _ = detector.preprocessing.size
    images = [rng.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in range(200)]
    alone = [detector.inspect(image).anomaly_map for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: detector.inspect(image).anomaly_map, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_equal_single_images(detector, picture):
    other = picture[:20, :20]
    alone = [detector.inspect(picture), detector.inspect(other)]
    for batch in ([picture, other], (picture, other)):
        together = detector.inspect(batch)
        assert [r.anomaly_map.shape for r in together] == [(30, 50), (20, 20)]
        for a, b in zip(alone, together, strict=True):
            assert np.array_equal(a.anomaly_map, b.anomaly_map)
    assert len(detector.inspect(np.stack([picture, picture, picture]))) == 3
    assert detector.inspect([]) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        "text",
        None,
    ],
)
def test_wrong_images_are_refused(detector, image):
    with pytest.raises(InputError):
        detector.inspect(image)


def test_defects_are_found_and_marked(tiny_set):
    detector = Detector(24, **TINY).fit(
        tiny_set, epochs=3, validation_share=0.25, show_progress=False
    )
    for path in sorted((tiny_set / "test" / "dent").iterdir()):
        found = detector.inspect(path)
        assert found.verdict == "ng"
        assert found.score > found.threshold
        left, top, right, bottom = found.regions[0].box
        assert left <= 11 <= right
        assert top <= 11 <= bottom  # the dent is drawn at 8 to 14
        assert found.regions[0].peak == pytest.approx(found.score)
        peak = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
        assert all(6 <= p <= 16 for p in peak)


def test_score_is_the_map_maximum_and_verdicts_follow_the_threshold(detector, picture):
    score = detector.inspect(picture).score
    _, working = detector.working_map(picture)
    assert score == working.max()  # the map has the network's size here
    detector.threshold = score
    at = detector.inspect(picture)
    assert (at.verdict, at.regions) == ("ok", ())
    detector.threshold = math.nextafter(score, 0)
    above = detector.inspect(picture)
    assert above.verdict == "ng"
    assert len(above.regions) == 1
    detector.threshold = None
    nothing = detector.inspect(picture)
    assert (nothing.verdict, nothing.threshold, nothing.regions) == (None, None, ())


def test_regions_are_scaled_to_the_image():
    anomaly_map = np.zeros((4, 8), np.float32)
    anomaly_map[0, 0], anomaly_map[1, 1] = 3, 5  # touch by a corner: one region
    anomaly_map[3, 5:7] = 4
    regions = find_regions(anomaly_map, 2.0, (40, 40))
    assert [(r.box, r.area, r.peak) for r in regions] == [
        ((0, 0, 10, 20), 100, 5.0),
        ((25, 30, 35, 40), 100, 4.0),
    ]
    assert find_regions(anomaly_map, 5.0, (40, 40)) == ()


CONDITIONS = Conditions("float32", "cpu", "cpu")


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [(99, 0.01, 99), (100, 0.01, 100), (199, 0.01, 198), (9, 0.1, 9), (9, 0.5, 5)],
)
def test_calibration_takes_the_conformal_rank(count, rate, rank):
    scores = np.random.default_rng(0).permutation(count) + 1.0
    found = conformal_calibration(list(scores), rate, source="given", conditions=CONDITIONS)
    assert found.rank == rank
    assert found.threshold == rank * (1 + TOLERANCES["float32"])
    promised = found.promised_false_reject_rate
    assert promised == pytest.approx(1 - rank / (count + 1))
    assert promised <= rate + 1e-9


def test_calibration_says_when_images_are_too_few(detector, tiny_set):
    folder = tiny_set / "test" / "good"
    detector.calibrate(folder, 0.01)
    scores = [detector.inspect(path).score for path in sorted(folder.iterdir())]
    assert detector.threshold == max(scores) * (1 + TOLERANCES["float32"])
    assert detector.calibration["promised_false_reject_rate"] == pytest.approx(0.2)
    assert detector.calibration["images_needed_for_target"] == 99
    assert all(r.verdict == "ok" for r in detector.inspect(sorted(folder.iterdir())))


def test_impossible_calibrations_are_refused(detector, tmp_path):
    with pytest.raises(InputError, match="between 0 and 1"):
        detector.calibrate([np.zeros((8, 8, 3), np.uint8)], 1.0)
    with pytest.raises(InputError, match="no images"):
        detector.calibrate([])
    with pytest.raises(InputError, match=str(tmp_path)):
        detector.calibrate(tmp_path)


def test_region_of_interest_silences_the_rest(tiny_detector_file, tiny_set, tmp_path):
    whole = Detector.load(tiny_detector_file)
    path = tiny_set / "test" / "dent" / "000.png"  # the dent is in the upper left quarter
    limited = Detector.load(tiny_detector_file)
    limited.threshold = None
    limited.region_of_interest = (0.75, 0.0, 1.0, 1.0)
    _, full_map = whole.working_map(path)
    score, inside = limited.working_map(path)
    assert np.all(inside[:, :12] == 0)
    assert np.array_equal(inside[:, 12:], full_map[:, 12:])
    assert score == full_map[:, 12:].max()
    limited.save(tmp_path / "limited.safetensors")
    again = Detector.load(tmp_path / "limited.safetensors")
    assert again.region_of_interest == (0.75, 0.0, 1.0, 1.0)
    for region, words in [
        ((0, 0, 2, 1), "fractions"),
        ((0.5, 0, 0.5, 1), "fractions"),
        ((0, 0, 1), "4 values"),
        ((0.51, 0.51, 0.52, 0.52), "holds no pixel"),
    ]:
        with pytest.raises(InputError, match=words):
            Detector(16, **TINY, region_of_interest=region)


def test_untrained_detectors_say_so(tmp_path):
    detector = Detector(16, **TINY)
    for call in (
        lambda: detector.inspect(np.zeros((8, 8, 3), np.uint8)),
        lambda: detector.save(tmp_path / "x.safetensors"),
        detector.template_picture,
    ):
        with pytest.raises(InputError, match="not trained"):
            call()
    with pytest.raises(InputError, match="calibrate"):
        _ = detector.map_scale


def test_template_picture_looks_like_the_good_images(tiny_set):
    detector = Detector(24, **TINY).fit(tiny_set, epochs=1, show_progress=False)
    picture = detector.template_picture()
    assert picture.shape == (24, 24, 3)
    expected = np.linspace(60, 160, 24)  # the ramp that every good image shows
    assert np.abs(picture.mean((0, 2)) - expected).mean() < 12


def test_header_tells_all_that_a_user_needs(tiny_detector_file):
    header = read_header(tiny_detector_file, "detector")
    assert header["format_version"] == 2
    assert header["library_version"] == __version__
    spec = header["spec"]
    assert spec["network"]["channels"] == 4
    assert spec["preprocessing"]["image_size"] == [16, 16]
    assert spec["recipe"]["epochs"] == 2
    assert spec["rule"]["region_of_interest"] is None
    assert header["calibration"]["source"] == "held-out"
    assert header["calibration"]["precision"] == "float32"
    assert header["training"]["category"] == "plate"
    assert len(header["training"]["contents"]) == header["training"]["images"] == 9
    assert len(header["history"]) == 2


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"\x00" * 100, "not a whole .safetensors file"),
        (lambda data: b"PK\x03\x04" + data, "not a whole .safetensors file"),
        (lambda data: data[:-10], "not a whole .safetensors file"),
        (lambda data: data[:40], "not a whole .safetensors file"),
        (lambda data: flipped(data, len(data) - 5), "its content is not what was written"),
    ],
)
def test_damaged_files_are_refused_by_name(tiny_detector_file, tmp_path, damage, words):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(damage(tiny_detector_file.read_bytes()))
    with pytest.raises(InputError, match=words) as caught:
        Detector.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_foreign_files_are_refused(tmp_path, tiny_detector_file, monkeypatch):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(InputError, match="PyramidFlow did not write it"):
        Detector.load(foreign)
    save_tensors(foreign, "checkpoint", {}, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="is a PyramidFlow checkpoint: a detector"):
        Detector.load(foreign)
    with monkeypatch.context() as newer:
        newer.setattr("pyramidflow.io.tensors.FORMAT_VERSION", 3)
        save_tensors(foreign, "detector", {}, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="format version 3"):
        Detector.load(foreign)
    save_tensors(foreign, "detector", {"spec": {}}, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="does not describe a detector"):
        Detector.load(foreign)
    header, tensors = load_tensors(tiny_detector_file, "detector")
    del tensors["model/encoder.weight"]
    save_tensors(foreign, "detector", header, tensors)
    with pytest.raises(InputError, match=r"the tensor model/encoder\.weight is missing"):
        Detector.load(foreign)
    with pytest.raises(InputError, match="there is no file"):
        Detector.load(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        Detector.load(tmp_path)


def test_failed_writes_leave_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(file):
        file.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="the disk is full"):
        write_atomically(path, full)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    blocked = path / "below.safetensors"
    with pytest.raises(InputError, match="could not be written"):
        write_atomically(blocked, lambda file: file.write(b"x"))


def test_header_is_json_without_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        save_tensors(tmp_path / "x", "detector", {"threshold": float("nan")}, {})
    save_tensors(tmp_path / "x", "detector", {"threshold": 1.5}, {"a": torch.zeros(0)})
    assert json.dumps(read_header(tmp_path / "x", "detector"))


class HalfSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)

    def forward(self, image):
        return self.conv(image).relu()


def test_detector_with_an_encoder_of_its_own(tiny_set, tmp_path):
    settings = TINY | {"channels": 6}
    detector = Detector(16, **settings, encoder=HalfSize())
    detector.fit(tiny_set, epochs=1, show_progress=False)
    path = tmp_path / "own.safetensors"
    detector.save(path)
    image = tiny_set / "test" / "good" / "000.png"
    again = Detector.load(path, encoder=HalfSize())  # other random weights: the file's count
    assert np.array_equal(again.inspect(image).anomaly_map, detector.inspect(image).anomaly_map)
    assert again.inspect(image).anomaly_map.shape == (24, 24)
    with pytest.raises(InputError, match="encoder of its own"):
        Detector.load(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 4, "levels": 4}, "levels need at least 8"),
        ({"device": "gpu"}, "cannot be used here"),
    ],
)
def test_impossible_settings_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Detector(**({"image_size": 16} | arguments))


def test_fit_refuses_too_few_images(tmp_path):
    write_image(tmp_path / "one" / "a.png", np.random.default_rng(0))
    with pytest.raises(InputError, match="pair"):
        Detector(16, **TINY).fit(tmp_path / "one", show_progress=False)


def test_few_images_are_all_trained_on_and_the_threshold_says_so(tmp_path):
    for i in range(3):
        write_image(tmp_path / "few" / f"{i}.png", np.random.default_rng(i))
    with pytest.warns(CalibrationWarning, match="3 of the 3 images"):
        detector = Detector(16, **TINY).fit(tmp_path / "few", epochs=1, show_progress=False)
    assert detector.training["images"] == 3
    assert detector.calibration["source"] == "training"
    assert detector.calibration["trained_on"] == 3
    highest = max(detector.inspect(p).score for p in (tmp_path / "few").iterdir())
    assert detector.threshold == highest * (1 + TOLERANCES["float32"])


def test_what_is_no_image_and_no_batch_is_refused_in_a_sentence(tiny_detector_file, tiny_set):
    detector = Detector.load(tiny_detector_file)
    with pytest.raises(InputError, match=r"is of type bytes.*a path"):
        detector.inspect(b"part.png")
    with (
        (tiny_set / "test" / "good" / "000.png").open("rb") as file,
        pytest.raises(InputError, match=r"is of type BufferedReader.*a path"),
    ):
        detector.inspect(file)
    with pytest.raises(InputError, match="a list is given for a folder of images: a path"):
        Detector(16, **TINY).fit([tiny_set / "train" / "good" / "000.png"])
    with pytest.raises(InputError, match="false reject rate is 'half': give a number"):
        detector.calibrate(tiny_set / "test" / "good", "half")

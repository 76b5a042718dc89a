"""Detectors that bring parts to one pose: from the training to the verdict and its file."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector
from pyramidflow.data import open_dataset
from pyramidflow.detector.artifact import REFERENCE, read_header
from pyramidflow.errors import CalibrationWarning, ImagesWarning, InputError
from pyramidflow.evaluation import evaluate, remarks, write_scores
from pyramidflow.evaluation.report import write_evaluation_report
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.spec import Spec
from tests.support.command_line import records_in
from tests.support.part_sets import save
from tests.support.parts import drawn
from tests.support.tiny import TINY

SIZE = 48
BLANK = np.full((SIZE, SIZE, 3), 200, np.uint8)


class Parts:
    """Draws parts that lie anyhow, in changing light, with noise."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pose(self):
        x, y = self.rng.uniform(-0.08, 0.08, 2)
        return float(x), float(y), float(self.rng.uniform(-180, 180))

    def picture(self, pose, dent=None):
        part = drawn(SIZE, *pose, light=self.rng.uniform(0.85, 1.1), dent=dent)
        return (part + self.rng.normal(0, 3, (SIZE, SIZE, 1))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def lying_anyhow(tmp_path_factory):
    root, parts = tmp_path_factory.mktemp("parts") / "bolt", Parts(0)
    for i in range(16):
        save(root / "train" / "good" / f"{i:02}.png", parts.picture(parts.pose()))
    for i in range(8):
        save(root / "test" / "good" / f"{i:02}.png", parts.picture(parts.pose()))
        pose, dent = parts.pose(), (parts.rng.uniform(-0.25, 0.15), 0.01)
        save(root / "test" / "dent" / f"{i:02}.png", parts.picture(pose, dent))
        mask = np.abs(drawn(SIZE, *pose, dent=dent).astype(int) - drawn(SIZE, *pose)).max(2) > 15
        mask_file = root / "ground_truth" / "dent" / f"{i:02}_mask.png"
        save(mask_file, (255 * mask).astype(np.uint8))
    return root


def fitted(root, **settings):
    settings = {"align": "turn", "light": True, "validation_share": 0.25, **settings}
    detector = Detector(SIZE, **TINY, **settings, device="cpu")
    return detector.fit(root, epochs=1, show_progress=False)


@pytest.fixture(scope="module")
def detector(lying_anyhow):
    return fitted(lying_anyhow, spread="pixel")


@pytest.fixture(scope="module")
def file(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "bolt.safetensors"
    detector.save(path)
    return path


def test_aligned_parts_are_judged_by_their_defects(detector, lying_anyhow):
    aligned = evaluate(detector, open_dataset(lying_anyhow))
    lying = evaluate(fitted(lying_anyhow, align="none"), open_dataset(lying_anyhow))
    assert aligned.metrics.pixel_auroc > 0.97
    assert aligned.metrics.pixel_auroc > lying.metrics.pixel_auroc + 0.1
    assert aligned.metrics.aupro_03 > lying.metrics.aupro_03 + 0.2
    assert aligned.escapes.value < lying.escapes.value
    assert aligned.reviews == 0


def test_a_map_lies_as_its_image_does(detector, lying_anyhow):
    for i in range(8):
        found = detector.inspect(lying_anyhow / "test" / "dent" / f"{i:02}.png")
        with Image.open(lying_anyhow / "ground_truth" / "dent" / f"{i:02}_mask.png") as mask:
            rows, columns = np.nonzero(np.asarray(mask))
        row, column = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
        assert np.hypot(row - rows.mean(), column - columns.mean()) < 4
        assert found.anomaly_map.max() == np.float32(found.score)
        assert found.verdict == "ng"
        x, y = found.regions[0].peak_at
        assert (y, x) == (row, column)


def within_reference(pose):
    """By how many pixels each pixel of the image lies in the reference's frame, by the pose."""
    down, across = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    across, down = across - pose.shift[0], down - pose.shift[1]
    c, s = np.cos(np.radians(pose.angle)), np.sin(np.radians(pose.angle))
    u, v = c * across + s * down, -s * across + c * down
    return SIZE / 2 - np.maximum(np.abs(u), np.abs(v))


def inner(depth):
    """Pixels far from both borders, the reference's and the image's."""
    border = np.pad(np.ones((SIZE - 10, SIZE - 10), bool), 5)
    return (depth > 4) & border


def test_what_lies_beyond_the_reference_is_zero(detector):
    found = detector.inspect(drawn(SIZE, 0.16, 0.0, 30))
    depth = within_reference(found.pose)
    assert found.pose.is_found
    assert (depth < -1).sum() > 100
    assert (found.anomaly_map[depth < -1] == 0).all()
    assert found.anomaly_map[inner(depth)].min() > 0


def test_areas_move_with_the_part_and_the_minimum_area_is_that_of_the_image(file):
    detector = Detector.load(file)
    detector.threshold = None
    detector.set_verdict(
        region_of_interest="polygon:0,0;0.5,0;0.5,1;0,1", exclude="rect:0,0,24,12px", minimum_area=9
    )
    detector.threshold = 0.0
    found = detector.inspect(drawn(SIZE, 0.1, 0.0, 30))
    assert found.pose.is_found
    down, across = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    across, down = across - found.pose.shift[0], down - found.pose.shift[1]
    c, s = np.cos(np.radians(found.pose.angle)), np.sin(np.radians(found.pose.angle))
    u, v = c * across + s * down, -s * across + c * down  # in the reference's pose
    depth = np.minimum.reduce([-u, u + SIZE / 2, v + SIZE / 4, SIZE / 2 - v])
    at_border = np.abs(depth) < 4  # a pixel of the map is four of the image, halved by the turn
    counted = np.kron(found.counted, np.ones((SIZE // found.counted.shape[0],) * 2, bool))
    assert np.array_equal(counted[~at_border], (depth > 0)[~at_border])
    assert 0.2 < counted.mean() < 0.5
    assert found.verdict == "ng"
    assert all(region.area >= 9 for region in found.regions)
    detector.threshold = found.score
    assert detector.inspect(drawn(SIZE, 0.1, 0.0, 30)).regions == ()


def test_a_pose_is_told_in_pixels_of_the_image(detector):
    def centred(size):
        return detector.inspect(drawn(size, 0, 0, 20)).pose, detector.inspect(
            drawn(size, 0.1, -0.05, 50)
        ).pose

    first, second = centred((2 * SIZE, 2 * SIZE))
    turned = (second.angle - first.angle) % 360
    assert turned == pytest.approx(30, abs=0.5)
    # The reference's centre need not be the part's: both poses carry it along.
    offset = np.array(first.shift)
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    expected = np.array([[c, -s], [s, c]]) @ offset + np.array([0.1, -0.05]) * 2 * SIZE
    np.testing.assert_allclose(second.shift, expected, atol=0.7)


@pytest.mark.parametrize("pixels", [BLANK, drawn(SIZE, 0.45, 0.1)], ids=["blank", "half"])
def test_a_part_without_a_pose_is_never_ok(detector, pixels):
    easy = Detector._of(detector._artifact)
    easy.threshold = 1e30
    for one in (detector, easy):
        found = one.inspect(pixels)
        assert found.verdict == "review"
        assert not found.as_dict()["pose"]["found"]
        assert np.isfinite(found.score)


def test_a_file_gives_the_same_bits(detector, file, lying_anyhow):
    picture = lying_anyhow / "test" / "dent" / "00.png"
    expected, found = detector.inspect(picture), Detector.load(file, device="cpu").inspect(picture)
    assert found.as_dict() == expected.as_dict()
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    header = read_header(file)
    assert header.spec.alignment.align == "turn"
    assert 0.5 < header.alignment.least_agreement < header.alignment.agreement <= 1


def forged(file, target, change):
    document, tensors = load_tensors(file, "detector")
    change(document, tensors)
    save_tensors(target, "detector", document, tensors)
    return target


FORGERIES = {
    "no picture": lambda d, t: t.pop(f"{REFERENCE}picture"),
    "another size": lambda d, t: t.update({f"{REFERENCE}shown": torch.ones(SIZE, SIZE - 1)}),
    "too bright": lambda d, t: t.update({f"{REFERENCE}picture": torch.full((3, SIZE, SIZE), 2.0)}),
    "no facts": lambda d, t: d.update(alignment=None),
    "wrong facts": lambda d, t: d["alignment"].update(ratio=-1),
    "unknown facts": lambda d, t: d["alignment"].update(scale=1),
    "a rule that wants none": lambda d, t: d["spec"]["alignment"].update(align="none"),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_a_file_whose_reference_is_wrong_is_refused(file, tmp_path, change):
    path = forged(file, tmp_path / "a.safetensors", change)
    for read in (read_header, Detector.load):
        with pytest.raises(InputError, match="does not describe a detector"):
            read(path)


def test_a_file_from_before_the_alignment_is_read(lying_anyhow, tmp_path):
    detector = fitted(lying_anyhow, align="none")
    detector.save(tmp_path / "new.safetensors")

    def as_it_was(document, tensors):
        del document["alignment"], document["spec"]["alignment"]
        del document["training"]["unplaced"]

    path = forged(tmp_path / "new.safetensors", tmp_path / "old.safetensors", as_it_was)
    picture = lying_anyhow / "test" / "dent" / "00.png"
    assert (
        Detector.load(path, device="cpu").inspect(picture).score == detector.inspect(picture).score
    )


def test_the_command_line_counts_parts_for_review(run, file, lying_anyhow, tmp_path):
    parts, output = tmp_path / "parts", tmp_path / "out"
    save(parts / "a.png", drawn(SIZE, 0.02, 0.03, 77))
    save(parts / "b.png", BLANK)
    given = ("inspect", parts, "--model", file, "--output", output, "--threshold", "1e30")
    code, out, _ = run(*given, "--fail-on-defect")
    assert code == 1
    assert "1 ok, 0 ng, 1 review, 0 errors" in out
    assert "aligning" in out
    good, blank = records_in(output)
    assert (good["verdict"], good["pose"]["found"]) == ("ok", True)
    assert (blank["verdict"], blank["pose"]["found"]) == ("review", False)
    code, out, _ = run(*given, "--resume")
    assert code == 0
    assert "1 ok, 0 ng, 1 review, 0 errors" in out
    _, out, _ = run("info", file)
    assert "align turn" in out
    assert "a part is for review" in out


def test_an_evaluation_counts_parts_for_review_as_not_ok(detector, lying_anyhow, tmp_path):
    root = tmp_path / "bolt"
    save(root / "train" / "good" / "0.png", BLANK)
    save(root / "test" / "good" / "0.png", BLANK)
    save(root / "test" / "good" / "1.png", drawn(SIZE, 0.02, 0.03, 77))
    save(root / "test" / "gone" / "0.png", BLANK)
    easy = Detector._of(detector._artifact)
    easy.threshold = 1e30
    found = evaluate(easy, open_dataset(root))
    assert found.reviews == 2
    assert (found.false_rejects.count, found.good_reviews.count, found.escapes.count) == (0, 1, 0)
    assert found.detection_rate == 1
    assert any("for review: 2 of 3" in remark for remark in remarks(found))
    write_evaluation_report(easy, found, [], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    for name, count in (("good_accepted", 1), ("good_rejected", 1), ("defects_found", 1)):
        assert f'data-count="{name}"><b>{count}</b>' in html
    write_scores(found, tmp_path / "scores.jsonl")
    verdicts = [json.loads(line)["verdict"] for line in (tmp_path / "scores.jsonl").open()]
    assert sorted(verdicts) == ["ok", "review", "review"]


def test_images_without_a_part_are_left_out_and_named(lying_anyhow, tmp_path):
    for path in sorted((lying_anyhow / "train" / "good").iterdir())[:8]:
        save(tmp_path / path.name, np.asarray(Image.open(path)))
    save(tmp_path / "empty.png", BLANK)
    with pytest.warns(ImagesWarning, match=r"1 of the good images show no part .* empty.png"):
        detector = fitted(tmp_path, validation_share=0.0)
    assert detector.training["unplaced"] == ["empty.png"]
    assert detector.training["images"] == 8
    with pytest.warns(CalibrationWarning, match="1 of the 2 images"):
        detector.calibrate([drawn(SIZE, 0.01, 0.0, 5), BLANK])
    assert detector.calibration["images"] == 1


def test_images_that_were_trained_on_are_known_again(detector, lying_anyhow):
    copy = Detector._of(detector._artifact)
    with pytest.warns(CalibrationWarning, match="were trained on"):
        copy.calibrate(lying_anyhow / "train" / "good")
    assert copy.calibration["trained_on"] == detector.training["images"]


def test_a_training_does_not_go_on_from_one_of_another_pose(lying_anyhow, tmp_path):
    checkpoint = tmp_path / "a.checkpoint.safetensors"
    data = lying_anyhow / "train" / "good"
    first = Detector(SIZE, **TINY, align="turn", device="cpu")
    first.fit(data, epochs=1, checkpoint=checkpoint, show_progress=False)
    again = Detector(SIZE, **TINY, align="turn", device="cpu")
    again.fit(data, epochs=1, checkpoint=checkpoint, resume=True, show_progress=False)
    assert again.threshold == first.threshold
    other = Detector(SIZE, **TINY, align="none", device="cpu")
    with pytest.raises(InputError, match="images"):
        other.fit(data, epochs=1, checkpoint=checkpoint, resume=True, show_progress=False)


def test_smoothing_does_not_darken_what_lies_beside_a_filled_part(lying_anyhow):
    detector = fitted(lying_anyhow, smoothing=2.0)
    found = detector.inspect(drawn(SIZE, 0.15, 0.0))
    assert np.isfinite(found.anomaly_map).all()
    assert found.anomaly_map[inner(within_reference(found.pose))].min() > 0


def test_alignment_and_random_turns_exclude_each_other():
    with pytest.raises(InputError, match="leave one of both out"):
        Spec.of({"align": "shift", "augment": "texture"})


def test_nothing_is_said_of_poses_where_none_are_looked_for(lying_anyhow):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fitted(lying_anyhow, align="none").inspect(BLANK)
    assert found.pose is None
    assert "pose" not in found.as_dict()


def test_a_training_says_how_parts_lie_and_what_to_do(run, lying_anyhow, tmp_path):
    tiny = ("--image-size", SIZE, "--levels", 2, "--stacks", 1, "--channels", 4, "--epochs", 1)
    given = ("train", lying_anyhow, *tiny, "--kernel-size", 3, "--output")
    code, out, err = run(*given, tmp_path / "a.safetensors")
    assert code == 0, err
    assert "train with --align turn" in out
    training = read_header(tmp_path / "a.safetensors").training
    assert 0.01 < training.shift < 0.12  # drawn with up to 0.08 either way
    assert 30 < training.angle < 150
    assert training.aligned_scores[0] < 0.8 * training.lying_scores[0]
    for name, *other in (("aligned", "--align", "turn"), ("codebook", "--codebook", 0.1)):
        _, out, _ = run(*given, tmp_path / f"{name}.safetensors", *other)
        assert "train with" not in out
        assert "as they lie" in out
    aligned = read_header(tmp_path / "aligned.safetensors").training
    assert aligned.shift == pytest.approx(training.shift, abs=0.04)
    assert aligned.aligned_scores[0] < 0.8 * aligned.lying_scores[0]


@pytest.mark.parametrize("dx", [0.0, 0.05])
def test_parts_that_are_only_shifted_need_no_turn(tmp_path, dx):
    parts = Parts(3)
    for i in range(12):
        save(tmp_path / f"{i:02}.png", parts.picture((float(parts.rng.uniform(-dx, dx)), 0.0, 0.0)))
    record = fitted(tmp_path, align="none")._artifact.training
    assert record.advice == ("shift" if dx else "none")
    assert record.angle < 0.3
    assert record.shift == pytest.approx(dx / 2, abs=0.02)


def test_of_images_without_a_part_nothing_is_said(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        save(tmp_path / f"{i:02}.png", rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8))
    record = fitted(tmp_path, align="none")._artifact.training
    assert (record.shift, record.angle, record.advice) == (None, None, "none")
    with pytest.raises(InputError, match="no pose in common"):
        fitted(tmp_path, align="turn")

"""The image size: as people write it, from the training images, and in every part of the way."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow import Detector, ops
from pyramidflow.data import Decoding, open_dataset
from pyramidflow.detector.size import image_sizes, resolved, too_small
from pyramidflow.errors import ImagesWarning, InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.spec import Preprocessing, Spec, size_text
from tests.support.tiny import TINY


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (256, (256, 256)),
        (np.int64(64), (64, 64)),
        ((640, 256), (640, 256)),
        ([640, 256], (640, 256)),
        ("640x256", (640, 256)),
        ("640X256", (640, 256)),
        ("640×256", (640, 256)),
        ("96", (96, 96)),
    ],
)
def test_sizes_as_people_write_them(given, size):
    assert Preprocessing(given).size == size
    assert Preprocessing(size_text(size)).size == size


@pytest.mark.parametrize(
    "given",
    [0, -1, "0x5", "axb", "", "1x2x3", (1, 2, 3), (), None, 2.5, True, "1e3", 70_000, "9" * 50, {}],
    ids=str,
)
def test_what_is_no_size_is_refused(given):
    with pytest.raises(InputError, match=r"image_size is .*: give a side from 1 to 65536"):
        Preprocessing(given)


def test_a_size_that_is_not_chosen_yet_cannot_be_used(tmp_path):
    detector = Detector("auto", **TINY)
    assert detector.preprocessing.image_size == "auto"
    with pytest.raises(InputError, match="a training chooses the size"):
        _ = detector.preprocessing.size
    with pytest.raises(InputError, match="9x4: 4 levels need at least 8"):
        Detector("9x4")


@pytest.mark.parametrize(
    ("settings", "sizes", "size"),
    [
        ({}, [(100, 100)], (256, 256)),
        ({}, [(1250, 500), (1240, 500), (400, 400)], (400, 160)),
        ({}, [(500, 1250)], (160, 408)),
        ({"levels": 8}, [(1000, 500)], (352, 192)),
        ({"encoder": "resnet18"}, [(100, 200)], (736, 1440)),
    ],
)
def test_auto_has_the_median_aspect_and_the_square_s_pixels(settings, sizes, size):
    spec = resolved(Spec.of({"image_size": "auto", **settings}), sizes)
    height, width = spec.preprocessing.size
    side = 1024 if "encoder" in settings else 256
    assert height * width == pytest.approx(side * side, rel=0.06)
    unit = min(32, 8 if not settings else 32)
    assert height % unit == width % unit == 0
    aspect = sorted(h / w for h, w in sizes)[len(sizes) // 2]
    assert height / width == pytest.approx(aspect, rel=0.09)


def test_chosen_sizes_stay():
    spec = Spec.of({"image_size": "64x32"})
    assert resolved(spec, [(10, 500)]) is spec


@pytest.fixture(scope="module")
def long_set(tmp_path_factory):
    """Parts of 60×20 with a thin crack on the bad ones."""
    root = tmp_path_factory.mktemp("data") / "rod"
    rng = np.random.default_rng(0)
    for i in range(14):
        kind = "train/good" if i < 10 else ("test/good" if i < 12 else "test/crack")
        pixels = np.clip(120 + rng.normal(0, 5, (60, 20, 3)), 0, 255).astype(np.uint8)
        mask = np.zeros((60, 20), np.uint8)
        if kind == "test/crack":
            pixels[30, 4:16], mask[30, 4:16] = 255, 255
            (root / "ground_truth" / "crack").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / "ground_truth" / "crack" / f"{i}_mask.png")
        (root / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / kind / f"{i}.png")
    return root


@pytest.mark.parametrize("settings", [{}, {"volume_norm": "svn"}, {"augment": "texture"}], ids=str)
def test_the_whole_way_at_a_size_that_is_no_square(long_set, tmp_path, settings):
    detector = Detector("48x16", **TINY, epochs=2, **settings).fit(long_set, show_progress=False)
    path = tmp_path / "rod.safetensors"
    detector.save(path)
    again = Detector.load(path)
    assert again.preprocessing.size == (48, 16)
    image = long_set / "test" / "crack" / "12.png"
    found = again.inspect(image)
    assert found.as_dict() == detector.inspect(image).as_dict()
    assert found.anomaly_map.shape == (60, 20)
    assert again.working_map(image)[1].shape == (48, 16)
    assert again.template_picture().shape == (48, 16, 3)
    with ops.use_backend("reference"):
        np.testing.assert_allclose(again.inspect(image).score, found.score, rtol=1e-5)
    _, top, _, bottom = found.regions[0].box
    assert top <= 30 < bottom
    result = evaluate(again, open_dataset(long_set))
    assert result.image_size == (48, 16)
    assert result.metrics.pixel_auroc > 0.9


def test_auto_is_chosen_by_a_training_and_kept_in_the_file(long_set, tmp_path):
    detector = Detector("auto", **TINY, epochs=1).fit(long_set, show_progress=False)
    assert detector.preprocessing.size == (444, 148)
    detector.save(tmp_path / "rod.safetensors")
    assert Detector.load(tmp_path / "rod.safetensors").preprocessing.size == (444, 148)


def test_running_means_of_the_other_orientation_are_refused(long_set, tmp_path):
    detector = Detector("48x16", **TINY, epochs=1).fit(long_set, show_progress=False)
    with pytest.raises(InputError, match=r"running_mean is \[1, 1, 48, 16\]"):
        Detector.from_network(detector.model, detector.template, {"image_size": "16x48"}).inspect(
            np.zeros((16, 48, 3), np.uint8)
        )
    swapped = [torch.transpose(z, 2, 3) for z in detector.template]
    with pytest.raises(InputError, match=r"running_mean is \[1, 1, 48, 16\]"):
        Detector.from_network(detector.model, swapped, {"image_size": "16x48"}).inspect(
            np.zeros((16, 48, 3), np.uint8)
        )


def test_defects_that_become_too_small_are_said(long_set):
    paths = sorted((long_set / "train" / "good").iterdir())
    sizes = image_sizes(paths, Decoding())
    assert set(sizes) == {(60, 20)}
    assert too_small(Preprocessing("48x16"), sizes) is None
    assert too_small(Preprocessing("48x16", smallest_defect=2.5), sizes) is None
    sentence = too_small(Preprocessing("16x16", smallest_defect=3), sizes)
    assert sentence == (
        "a defect of 3 pixels has 0.8 pixels at the image size 16: at least 2 are expected; give "
        "--image-size 40x14."
    )
    with pytest.warns(ImagesWarning, match="give --image-size 40x14"):
        Detector(16, **TINY, epochs=1, smallest_defect=3).fit(long_set, show_progress=False)

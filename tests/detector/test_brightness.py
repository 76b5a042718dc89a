"""Images of parts that were exposed differently, brought to one brightness."""

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.data import mean_level, network_input, open_dataset, to_mean_level
from pyramidflow.errors import InputError
from pyramidflow.spec import Preprocessing, Spec
from tests.support.tiny import TINY


@pytest.mark.parametrize(
    ("given", "kept"),
    [(100, 100.0), ("99.5", 99.5), ("auto", "auto"), (None, None), ("none", None), (255, 255.0)],
)
def test_brightness_as_people_write_it(given, kept):
    assert Preprocessing(brightness=given).brightness == kept


@pytest.mark.parametrize("given", [0, 256, -3, "bright", True, float("nan"), [100], ""], ids=str)
def test_what_is_no_brightness_is_refused(given):
    with pytest.raises(InputError, match=r"brightness is .*: give a mean grey value from 1 to 255"):
        Preprocessing(brightness=given)


def picture(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 90, (16, 24, 3)).astype(dtype)


def test_an_image_is_brought_to_a_mean_by_one_factor():
    image = picture()
    evened = to_mean_level(image, 110.0)
    assert evened.dtype == np.uint8
    np.testing.assert_array_equal(evened, np.rint(image * (110.0 / image.mean())))
    assert mean_level(evened) == pytest.approx(110, abs=0.5)
    assert to_mean_level(image, None) is image


def test_what_would_be_brighter_than_white_is_white():
    image = picture()
    image[0, 0] = 255
    assert to_mean_level(image, 110.0)[0, 0].tolist() == [255] * 3
    assert mean_level(np.full((2, 2, 3), 65535, np.uint16)) == 255
    deep = to_mean_level(np.full((2, 2, 3), 60_000, np.uint16), 255.0)
    assert deep.dtype == np.uint16
    assert (deep == 65535).all()


def test_a_black_image_stays_black():
    black = np.zeros((4, 4, 3), np.uint8)
    assert not to_mean_level(black, 100.0).any()


def test_two_exposures_are_one_network_input():
    image = picture().clip(30, 80) // 2 * 2
    settings = Preprocessing((16, 24), brightness=60)
    bright, dark = (network_input([x], settings, "cpu") for x in (image, image // 2))
    assert (bright - dark).abs().max() < 0.04  # of 1/255 / std, by rounding
    plain = Preprocessing((16, 24))
    bright, dark = (network_input([x], plain, "cpu") for x in (image, image // 2))
    assert (bright - dark).abs().max() > 0.5


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """A folder of one part, photographed with exposures that differ up to threefold."""
    folder = tmp_path_factory.mktemp("exposures")
    part = picture(1, np.float64).repeat(2, 0)[:32, :24].repeat(2, 1)[:, :32]
    for number, gain in enumerate(np.geomspace(0.6, 1.8, 10)):
        noise = np.random.default_rng(number).normal(0, 1, part.shape)
        pixels = np.clip(part * gain + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_training_measures_the_brightness_and_the_line_uses_it(exposures, tmp_path):
    detector = Detector(32, brightness="auto", **TINY)
    with pytest.raises(InputError, match="a training measures it"):
        _ = detector.preprocessing.mean_level
    detector.fit(exposures, epochs=1, show_progress=False)
    levels = [np.asarray(Image.open(path)).mean() for path in open_dataset(exposures).train]
    level = detector.preprocessing.mean_level
    assert min(levels) < level < max(levels)
    detector.save(tmp_path / "part.safetensors")
    loaded = Detector.load(tmp_path / "part.safetensors")
    assert loaded.preprocessing.mean_level == level
    image = np.asarray(Image.open(exposures / "8.png"))
    darker = (image // 2).astype(np.uint8)
    assert loaded.inspect(image).score == detector.inspect(image).score
    evened = loaded.inspect(darker).score / loaded.inspect(image).score
    plain = Detector(32, **TINY).fit(exposures, epochs=1, show_progress=False)
    as_is = plain.inspect(darker).score / plain.inspect(image).score
    assert abs(evened - 1) < abs(as_is - 1) / 2


def test_a_file_without_the_setting_leaves_images_as_they_are():
    stored = Spec().as_dict()
    del stored["preprocessing"]["brightness"]
    assert Spec.from_dict(stored).preprocessing.mean_level is None


def test_a_training_does_not_go_on_at_another_brightness(exposures, tmp_path):
    checkpoint = tmp_path / "part.checkpoint.safetensors"
    run = {"checkpoint": checkpoint, "show_progress": False}
    Detector(32, brightness=80, **TINY).fit(exposures, epochs=1, **run)
    for other in (None, 90):
        with pytest.raises(InputError, match=r"made with brightness = 80\.0, but now it is"):
            Detector(32, brightness=other, **TINY).fit(exposures, epochs=2, resume=True, **run)
    going_on = Detector(32, brightness=80, **TINY).fit(exposures, epochs=2, resume=True, **run)
    assert going_on.training["epochs"] == 2

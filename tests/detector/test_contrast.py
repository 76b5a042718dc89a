"""Light, spread, smoothing and bad training images, from the settings to the verdict."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from pyramidflow import Detector, ops
from pyramidflow.data import open_dataset
from pyramidflow.detector.artifact import read_header
from pyramidflow.detector.smoothing import Smoothing
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.spec import PLAIN_CONTRAST
from tests.support.part_sets import (
    SIZE,
    fitted,
    in_changing_light,
    ramp,
    save,
    with_uneven_noise,
    write_set,
)
from tests.support.tiny import TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def changing_light(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("light") / "plate", in_changing_light)


@pytest.fixture(scope="module")
def uneven_noise(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("noise") / "plate", with_uneven_noise)


def measured(root, **settings):
    return evaluate(fitted(root, **settings), open_dataset(root)).metrics


def test_light_finds_more_where_the_light_changes(changing_light):
    plain, light = (measured(changing_light, spread="none", light=on) for on in (False, True))
    assert light.pixel_auroc > plain.pixel_auroc + 0.05
    assert light.image_auroc > plain.image_auroc
    assert light.aupro_03 > plain.aupro_03 + 0.1


@pytest.mark.parametrize("robust", [0.0, 0.1])
def test_spread_finds_more_where_the_noise_is_uneven(uneven_noise, robust):
    plain = measured(uneven_noise, spread="none", light=False)
    spread = measured(uneven_noise, spread="pixel", light=False, robust=robust)
    assert spread.pixel_auroc > plain.pixel_auroc + 0.1
    assert spread.image_auroc > plain.image_auroc + 0.1


ALL = {"spread": "pixel", "light": True, "smoothing": 1.5, "robust": 0.1}


@pytest.fixture(scope="module")
def full(uneven_noise):
    return fitted(uneven_noise, **ALL)


@pytest.fixture(scope="module")
def full_file(full, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "full.safetensors"
    full.save(path)
    return path


def test_a_file_gives_the_same_bits(full, full_file, uneven_noise):
    picture = uneven_noise / "test" / "dent" / "00.png"
    expected, found = full.inspect(picture), Detector.load(full_file).inspect(picture)
    assert found.score == expected.score
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    header = read_header(full_file)
    for name, value in ALL.items():
        assert header.spec.as_settings()[name] == value


def test_a_channel_s_spread_is_one_number_in_the_file(uneven_noise, tmp_path):
    detector = fitted(uneven_noise, spread="channel")
    detector.save(tmp_path / "a.safetensors")
    _, tensors = load_tensors(tmp_path / "a.safetensors", "detector")
    assert tensors["inverse_spread/1"].shape == (1, 4, 1, 1)
    picture = uneven_noise / "test" / "dent" / "00.png"
    again = Detector.load(tmp_path / "a.safetensors")
    assert again.inspect(picture).score == detector.inspect(picture).score


def test_evaluate_and_inspect_agree(full, uneven_noise):
    for outcome in evaluate(full, open_dataset(uneven_noise)).outcomes:
        found = full.inspect(outcome.path)
        assert outcome.score == found.score
        score, working = full.working_map(outcome.path)
        assert score == found.score == found.anomaly_map.max()
        np.testing.assert_array_equal(working, found.anomaly_map)


def test_the_runtime_equals_the_network(full, uneven_noise):
    pictures = sorted((uneven_noise / "test" / "dent").iterdir())[:3]
    ours = [full.inspect(picture).anomaly_map for picture in pictures]
    with ops.use_backend("reference"):
        plain = [full.inspect(picture).anomaly_map for picture in pictures]
    np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("inverse_spread/0", lambda w: w.half(), "torch.float16"),
        ("inverse_spread/0", lambda w: w[..., :-1].contiguous(), "inverse_spread/0"),
        ("inverse_spread/1", lambda w: w[:, :, :1, :1].contiguous(), "inverse_spread/1"),
        ("inverse_spread/1", lambda w: w * torch.nan, "inverse_spread/1"),
        ("inverse_spread/1", lambda w: w * torch.inf, "inverse_spread/1"),
        ("inverse_spread/1", lambda w: -w, "not above 0"),
        ("inverse_spread/0", lambda w: 0 * w, "not above 0"),
        ("inverse_spread/0", lambda w: None, "inverse_spread/0"),
        ("inverse_spread/2", lambda w: torch.ones(1, 4, 8, 8), "inverse_spread/2"),
    ],
)
def test_forged_spreads_are_refused(full_file, tmp_path, name, change, words):
    header, tensors = load_tensors(full_file, "detector")
    tensors = dict(tensors)
    changed = change(tensors.get(name))
    tensors.pop(name, None)
    if changed is not None:
        tensors[name] = changed
    path = tmp_path / "forged.safetensors"
    save_tensors(path, "detector", {k: v for k, v in header.items() if k != "digest"}, tensors)
    with pytest.raises(InputError, match=words) as caught:
        Detector.load(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("spread", "none"),
        ("spread", "channel"),
        ("spread", "row"),
        ("light", 1),
        ("robust", 0.9),
        ("robust", None),
        ("unknown", 1),
    ],
)
def test_forged_contrasts_are_refused(full_file, tmp_path, setting, value):
    header, tensors = load_tensors(full_file, "detector")
    del header["digest"]
    header["spec"]["contrast"][setting] = value
    path = tmp_path / "forged.safetensors"
    save_tensors(path, "detector", header, tensors)
    with pytest.raises(InputError, match=r"forged\.safetensors"):
        Detector.load(path)


def test_files_without_contrast_settings_compare_with_the_template_alone(
    tiny_detector_file, tmp_path
):
    header, tensors = load_tensors(tiny_detector_file, "detector")
    del header["digest"], header["spec"]["contrast"], header["spec"]["rule"]["smoothing"]
    del header["training"]["suspects"], header["training"]["suspect_scores"]
    path = tmp_path / "older.safetensors"
    tensors = {k: v for k, v in tensors.items() if not k.startswith("inverse_spread/")}
    save_tensors(path, "detector", header, tensors)
    picture = np.zeros((16, 16, 3), np.uint8)
    older, newer = Detector.load(path), Detector.load(tiny_detector_file)
    alone = Detector.from_network(newer.model, newer.template, {"image_size": 16})
    assert older.spec.contrast == PLAIN_CONTRAST
    assert older.inspect(picture).score == alone.inspect(picture).score


def test_a_spread_is_given_where_it_is_asked_for_and_only_there(full):
    template = full.template
    spread = [torch.ones_like(z) for z in template]
    size = {"image_size": SIZE}
    with pytest.raises(InputError, match="spread is pixel, but none was given"):
        Detector.from_network(full.model, template, {**size, "spread": "pixel"})
    with pytest.raises(InputError, match="spread is none, but one was given"):
        Detector.from_network(full.model, template, size, spread)
    made = Detector.from_network(full.model, template, {**size, "spread": "pixel"}, spread)
    plain = Detector.from_network(full.model, template, size)
    picture = np.full((SIZE, SIZE, 3), 90, np.uint8)
    np.testing.assert_array_equal(
        made.inspect(picture).anomaly_map, plain.inspect(picture).anomaly_map
    )


def test_contrast_needs_the_pyramid_difference():
    with pytest.raises(InputError, match="without pyramid-difference"):
        Detector(SIZE, **TINY, without=("pyramid-difference",), light=True)


def test_bad_training_images_are_named_and_left_out(uneven_noise, tmp_path):
    root = tmp_path / "plate"
    rng = np.random.default_rng(1)
    for i in range(18):
        pixels = ramp() + rng.normal(0, 3, (SIZE, SIZE, 3))
        if i in (5, 11):
            pixels[i : i + 6, i : i + 6] = 255
        save(root / "train" / "good" / f"{i:02}.png", pixels)
    detector = Detector(SIZE, **TINY, robust=0.1, validation_share=0.0)
    detector.fit(root, epochs=1, show_progress=False)
    training = detector.training
    assert {name[-6:] for name in training["suspects"]} == {"05.png", "11.png"}
    scores = training["suspect_scores"]
    assert scores[0] > scores[1] > detector.threshold
    assert detector.calibration["images"] == 16
    careless = Detector(SIZE, **TINY, validation_share=0.0)
    careless.fit(root, epochs=1, show_progress=False)
    assert careless.threshold > 2 * detector.threshold


def scipy_smoothing(x, sigma, mask):
    """By SciPy's filter, in float64."""
    top = ndimage.gaussian_filter((x * mask).astype(np.float64), sigma, mode="constant")
    counted = ndimage.gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    return np.divide(top, counted, out=np.zeros_like(top), where=mask > 0)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("size", [(40, 31), (64, 3), (1, 1)])
@pytest.mark.parametrize("region", [False, True])
def test_smoothing_is_scipy_s_but_for_what_does_not_count(sigma, size, region):
    maps = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(size)
    if region:
        mask[size[0] // 2 + 1 :] = 0
        mask[:, : size[1] // 3] = 0
    maps = maps * mask
    found = Smoothing(sigma, size, mask if region else None, CPU)(maps)
    for ours, given in zip(found, maps, strict=True):
        expected = scipy_smoothing(given.numpy(), sigma, mask.numpy())
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_smoothing_is_part_of_score_map_and_regions(full_file, uneven_noise):
    detector = Detector.load(full_file)
    detector.threshold = None
    detector.region_of_interest = (0, 0, 0.5, 1)  # keeps the other settings of the verdict
    assert detector.spec.rule.smoothing == 1.5
    picture = uneven_noise / "test" / "dent" / "01.png"
    found = detector.inspect(picture)
    assert found.score == found.anomaly_map.max()
    assert (found.anomaly_map[:, 16:] == 0).all()
    rough = Detector.from_network(
        detector.model,
        detector.template,
        {**detector.spec.as_settings(), "smoothing": 0.0},
        detector._artifact.inverse_spread,
    )
    mask = np.zeros((SIZE, SIZE))
    mask[:, :16] = 1
    expected = scipy_smoothing(rough.inspect(picture).anomaly_map, 1.5, mask)
    np.testing.assert_allclose(found.anomaly_map, expected, rtol=1e-5, atol=1e-6)

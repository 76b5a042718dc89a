"""The comparison with a codebook of training latents, from the operation to the detector's file."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from pyramidflow import Detector, PyramidFlow, ops
from pyramidflow.data import open_dataset
from pyramidflow.errors import InputError
from pyramidflow.evaluation import evaluate
from pyramidflow.io.tensors import load_tensors, save_tensors
from pyramidflow.model import Codebook
from pyramidflow.model.codebook import features_of, level_of
from pyramidflow.runtime import InspectionSettings, cpu
from pyramidflow.runtime.cpu import budget
from pyramidflow.runtime.cpu.budget import INSPECTION_BYTES, RUNTIME_RESERVE
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.spec import ContrastRule
from pyramidflow.training.codebook import Draws
from pyramidflow.training.statistics import Gathered
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.numbers import relative_error
from tests.support.part_sets import fitted, scattered_squares, write_set
from tests.support.tile_cases import small_tiling, tiled_runtime
from tests.support.tiny import TINY

CPU = torch.device("cpu")


def drawn(count, shapes=((3, 16, 24), (3, 8, 12), (3, 4, 6)), batch=1, seed=0):
    """Latents of images, whose channels differ in mean and spread."""
    generator = torch.Generator().manual_seed(seed)

    def level(shape):
        scale = torch.arange(1.0, shape[0] + 1)[:, None, None]
        return scale * (torch.randn((batch, *shape), generator=generator) + 3)

    return [[level(shape) for shape in shapes] for _ in range(count)]


def test_features_of_the_levels_in_one_resolution():
    (latents,) = drawn(1, batch=2)
    fine, middle, coarse = (z.double().numpy() for z in latents)
    fine = fine.reshape(2, 3, 8, 2, 12, 2).mean((3, 5))
    coarse = np.stack([[zoomed(plane) for plane in image] for image in coarse])
    x = np.concatenate([fine, middle, coarse], 1)  # [2, 9, 8, 12]
    ones = ndimage.uniform_filter(np.ones((8, 12)), 3, mode="constant")
    x = ndimage.uniform_filter(x, (0, 0, 3, 3), mode="constant") / ones
    expected = x.reshape(2, 9, -1).transpose(0, 2, 1)
    np.testing.assert_allclose(features_of(latents, 1), expected, rtol=1e-5, atol=1e-5)


def zoomed(plane):
    """Twice the size, pixel centres kept in place, the border repeated."""
    rows, columns = (np.clip((np.arange(2 * n) - 0.5) / 2, 0, n - 1) for n in plane.shape)
    grid = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(plane, grid, order=1)


@pytest.mark.parametrize(
    ("stride", "levels", "level"), [(1, 4, 3), (1, 2, 1), (4, 4, 1), (8, 4, 0), (None, 4, 1)]
)
def test_positions_are_eight_pixels_apart(stride, levels, level):
    assert level_of(stride, levels, False) == level


def codebook_of(latents, rule, level=1):
    draws = Draws(rule, level, len(latents))
    for index, z in enumerate(latents):
        draws.add(index, z)
    return draws.codebook()


@pytest.mark.parametrize("light", [False, True])
def test_a_codebook_of_everything_is_standardised(light):
    images = drawn(5)
    found = codebook_of(images, ContrastRule(spread="none", codebook=1.0, light=light))
    given = [[z - z.mean((2, 3), keepdim=True) for z in i] for i in images] if light else images
    x = np.concatenate([features_of(latents, 1)[0].double().numpy() for latents in given])
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5, atol=1e-6)
    spread = x.var(0).mean() ** 0.5
    np.testing.assert_allclose(1 / found.inverse_spread, np.full(9, spread), rtol=1e-5)
    np.testing.assert_allclose(found.entries, (x - x.mean(0)) / spread, rtol=1e-4, atol=1e-4)
    for latents in images:
        assert found.map_of(latents).max() < 2e-3  # all of it is in the codebook


@pytest.mark.parametrize(
    ("share", "most", "count"),
    [(0.1, 10_000, 48), (0.5, 100, 100), (1.0, 480, 480), (1e-9, 10_000, 5), (1.0, 3, 3)],
)
def test_a_codebook_has_its_share_or_as_many_entries_as_it_may(share, most, count):
    rule = ContrastRule(spread="none", light=False, codebook=share, codebook_entries=most)
    images = drawn(5)
    found = codebook_of(images, rule)
    assert len(found.entries) == count
    assert torch.equal(codebook_of(images, rule).entries, found.entries)
    whole = codebook_of(images, ContrastRule(spread="none", light=False, codebook=1.0)).entries
    assert len(torch.unique(found.entries, dim=0)) == count
    assert cdist(found.entries, whole).min(1).max() < 1e-6


def test_a_codebook_holds_what_few_positions_show():
    images = drawn(8)
    for z in images[5]:
        z[:, :, : z.shape[2] // 4, : z.shape[3] // 4] += 30  # a place that one image alone shows
    found = codebook_of(images, ContrastRule(spread="none", light=False, codebook=0.25))
    assert len(found.entries) == 8 * 96 // 4
    assert found.map_of(images[5]).max() < found.map_of(drawn(1, seed=9)[0]).max()


def test_without_an_image_nothing_of_it_is_left():
    images = drawn(4)
    rule = ContrastRule(spread="none", light=False, codebook=0.25)
    draws = Draws(rule, 1, 4)
    for index, latents in enumerate(images):
        draws.add(index, latents)
    found = draws.without(3).codebook()
    others = Draws(rule, 1, 4)
    for index, latents in enumerate(images[:3]):
        others.add(index, latents)
    for name, tensor in others.codebook().tensors.items():
        assert torch.equal(tensor, found.tensors[name])


def test_what_an_image_does_not_show_is_not_drawn():
    images = drawn(4)
    seen = torch.zeros(16, 24, dtype=torch.bool)
    seen[:, 9:] = True
    for latents in images:
        for z in latents:
            z[..., : z.shape[-1] // 3] = 1e4
    gathered = Gathered(
        PyramidFlow(**TINY), ContrastRule(spread="none", light=False, codebook=1.0), [0] * 4, True
    )
    assert gathered._draws.level == 1
    for index, latents in enumerate(images):
        gathered.add(index, latents[:2], seen)
    found = gathered.normal().codebook
    assert len(found.entries) == 4 * 8 * 7  # position 4 lies on pixels 8 and 9
    whole = torch.stack([features_of(latents[:2], 1)[0].view(8, 12, -1) for latents in images])
    shown = whole[:, :, 5:].reshape(-1, 6)
    torch.testing.assert_close(found.mean, shown.mean(0), rtol=1e-5, atol=1e-5)


def test_images_that_never_change_have_a_spread_of_one():
    still = [[torch.ones_like(z) for z in drawn(1)[0]] for _ in range(2)]
    assert torch.equal(
        codebook_of(still, ContrastRule(spread="none", light=False, codebook=1.0)).inverse_spread,
        torch.ones(9),
    )


def random_codebook(network, size, level=1, light=False):
    with torch.no_grad():
        images = [network(torch.randn(1, 3, *size)) for _ in range(3)]
    return codebook_of(images, ContrastRule(spread="none", codebook=0.2, light=light), level)


NETWORKS = {
    "lift": ((50, 70), {"levels": 3, "stacks": 1, "kernel_size": 3}),
    "level 0": ((40, 48), {"levels": 2, "stacks": 1, "volume_norm": "svn"}),
    "resnet18": ((90, 100), {"encoder": "resnet18", "levels": 2, "stacks": 1, "kernel_size": 3}),
}


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_runtimes_equal_the_network(name, light):
    require_backend("cpu")
    size, settings = NETWORKS[name]
    network = runtimes.trained_network(size, **settings)
    comparison = random_codebook(network, size, int(name != "level 0"), light)
    images = runtimes.pictures(2, size)
    expected = runtimes.oracle(network, images, comparison)
    runtime = runtimes.whole_runtime(network, comparison, (2, *size))
    found = runtime.inspect(images).clone()
    assert relative_error(found, expected) <= runtimes.ERROR
    assert torch.equal(runtime.inspect(images), found)
    assert [name for name, _ in runtime.profile(images, rounds=1)][-1] == "anomaly map"
    frozen = FrozenNetwork(runtimes.trained(network, comparison), CPU, torch.float32)
    assert relative_error(frozen(images), expected) <= runtimes.ERROR
    half = FrozenNetwork(runtimes.trained(network, comparison), CPU, torch.bfloat16)(images)
    assert half.dtype == torch.float32
    assert relative_error(half, expected) <= 0.02


def test_threads_do_not_change_the_bits(one_thread):
    require_backend("cpu")
    network = runtimes.trained_network((64, 64), levels=2, stacks=1, kernel_size=3)
    comparison = random_codebook(network, (64, 64), 0)
    images = runtimes.pictures(1, (64, 64))
    found = [
        runtimes.whole_runtime(network, comparison, (1, 64, 64), threads=n).inspect(images)
        for n in (1, 2, 3)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("light", [False, True])
def test_tiles_equal_the_whole_image(light):
    require_backend("cpu")
    size = (150, 163)
    network = runtimes.trained_network(size, levels=4, stacks=1, kernel_size=5)
    comparison, images = random_codebook(network, size, 2, light), runtimes.pictures(2, size)
    runtime = tiled_runtime(network, comparison, (2, *size), small_tiling(network, size, 2, 2))
    expected = runtimes.oracle(network, images, comparison)
    found = runtime.inspect(images)
    assert relative_error(found, expected) <= runtimes.ERROR
    assert (found - expected).abs().max() <= 10 * runtimes.ERROR * expected.abs().max()
    names = [name for name, _ in runtime.profile(images, rounds=1)]
    assert names[-1] == "anomaly map"
    assert names.count("anomaly map") == 1


def test_a_budget_makes_tiles_and_counts_the_codebook(monkeypatch):
    require_backend("cpu")
    size = (256, 256)
    network = runtimes.trained_network(size, levels=3, stacks=1, kernel_size=3)
    comparison = random_codebook(network, size, 2)
    subject = runtimes.trained(network, comparison)
    monkeypatch.setattr(budget, "resident_bytes", lambda: 0)  # what the process has may fall
    around = RUNTIME_RESERVE + INSPECTION_BYTES * 256**2
    runtime = cpu.make(subject, size, InspectionSettings(memory_budget=around + (22 << 20)))
    assert isinstance(runtime, cpu.TiledRuntime)
    images = runtimes.pictures(1, size)
    expected = runtimes.whole_runtime(network, comparison, (1, *size)).inspect(images)
    assert relative_error(runtime.inspect(images), expected) <= runtimes.ERROR
    with pytest.raises(InputError, match="even in tiles"):
        cpu.make(subject, size, InspectionSettings(memory_budget=around + (6 << 20)))


def test_another_network_s_codebook_is_refused():
    require_backend("cpu")
    network = runtimes.trained_network((32, 32), levels=2, stacks=1, kernel_size=3)
    other = Codebook(torch.zeros(4, 8), torch.zeros(8), torch.ones(8), 1)
    with pytest.raises(InputError, match="entries of 8 features, but these latents give 32"):
        runtimes.whole_runtime(network, other, (1, 32, 32))


@pytest.fixture(scope="module")
def anyhow(tmp_path_factory):
    """Squares that lie anyhow on a plain ground; a defect is a square of another brightness."""
    return write_set(tmp_path_factory.mktemp("anyhow") / "plate", scattered_squares)


@pytest.fixture(scope="module")
def detector(anyhow):
    return fitted(anyhow, codebook=0.5, light=True, robust=0.1)


@pytest.fixture(scope="module")
def file(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("codebook") / "codebook.safetensors"
    detector.save(path)
    return path


def test_a_codebook_finds_more_where_parts_lie_anyhow(anyhow):
    plain, codebook = (
        evaluate(fitted(anyhow, **settings), open_dataset(anyhow)).metrics
        for settings in ({}, {"codebook": 0.5})
    )
    assert codebook.image_auroc > plain.image_auroc + 0.1


def test_a_file_gives_the_same_bits(detector, file, anyhow):
    picture = anyhow / "test" / "dent" / "00.png"
    expected, again = detector.inspect(picture), Detector.load(file)
    found = again.inspect(picture)
    assert found.score == expected.score
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    assert again.spec.contrast.codebook == 0.5
    with ops.use_backend("reference"):
        plain = again.inspect(picture).anomaly_map
    np.testing.assert_allclose(found.anomaly_map, plain, rtol=1e-4, atol=1e-4)
    assert len(detector.training["suspects"]) == 2


def test_a_changed_codebook_is_seen(file, anyhow):
    detector, picture = Detector.load(file), anyhow / "test" / "dent" / "00.png"
    before = detector.inspect(picture).score
    detector._artifact.codebook.entries.mul_(2)
    assert detector.inspect(picture).score != before


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("entries", lambda x: x.half(), "torch.float16"),
        ("entries", lambda x: x[:, :-1].contiguous(), "codebook/entries"),
        ("entries", lambda x: x[:0], "codebook/entries"),
        ("entries", lambda x: x * torch.nan, "not finite"),
        ("entries", lambda x: torch.tensor(1.0), "codebook/entries"),
        ("entries", lambda x: None, "codebook/entries is missing"),
        ("mean", lambda x: x[:-1].contiguous(), "codebook/mean"),
        ("inverse_spread", lambda x: 0 * x, "not above zero"),
        ("other", lambda x: torch.ones(2), "codebook/other"),
    ],
)
def test_forged_codebooks_are_refused(file, tmp_path, name, change, words):
    header, tensors = load_tensors(file, "detector")
    tensors = dict(tensors)
    changed = change(tensors.pop(f"codebook/{name}", None))
    if changed is not None:
        tensors[f"codebook/{name}"] = changed
    path = tmp_path / "forged.safetensors"
    save_tensors(path, "detector", {k: v for k, v in header.items() if k != "digest"}, tensors)
    with pytest.raises(InputError, match=words):
        Detector.load(path)


def test_settings_that_contradict_a_codebook_are_refused(detector):
    with pytest.raises(InputError, match=r"codebook is 0\.1 and spread pixel"):
        Detector(32, **TINY, codebook=0.1, spread="pixel")
    with pytest.raises(InputError, match=r"contrast is codebook 0\.1, but without pyramid"):
        Detector(32, **TINY, codebook=0.1, without=("pyramid-difference",))
    with pytest.raises(InputError, match=r"contrast is codebook 0\.1, but without template"):
        Detector(32, **TINY, codebook=0.1, without=("template",))
    with pytest.raises(InputError, match=r"codebook is 0\.5, but none was given"):
        Detector.from_network(
            detector.model, detector.template, {"image_size": 32, "codebook": 0.5}
        )

"""The distance to the nearest of many entries."""

import platform

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch._subclasses import FakeTensorMode

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.ops import nearest as family
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.nearest import cpu as kernel
from pyramidflow.ops.nearest import reference
from tests.support.cpu_cases import compare, on_cpu

cpu, oracle = steps("cpu"), steps("reference")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(features, entries):
    """The formula in float64, by differences."""
    distances = cdist(features.double(), entries.double()).min(1)
    return torch.from_numpy(distances / features.shape[1] ** 0.5)


@pytest.mark.parametrize(("rows", "columns"), [(512, 2048), (7, 5)])
@pytest.mark.parametrize(("positions", "entries"), [(40, 23), (1, 1), (7, 10)])
def test_the_oracle_is_scipy_s(monkeypatch, positions, entries, rows, columns):
    monkeypatch.setattr(reference, "ROWS", rows)
    monkeypatch.setattr(reference, "COLUMNS", columns)
    a, b = normal(positions, 12).double(), normal(entries, 12, seed=1).double()
    a[0] = b[-1]
    expected = plain(a, b)
    exact = oracle.nearest_distance(a, b)
    np.testing.assert_allclose(exact, expected, rtol=1e-9, atol=1e-7)
    found = oracle.nearest_distance(a.float(), b.float())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


SIZES = [
    (0, 5, 3),
    (1, 1, 1),
    (7, 64, 2),
    (13, 65, 5),
    (200, 300, 16),
    (193, 129, 33),
    (6, 1000, 64),
    (50, 40, 301),
    (70, 90, 1500),
]
"""Positions, entries and features: none, one, odd, a block and one more, a task and one more."""


@on_cpu
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_kernel_is_the_formula(size, level):
    positions, entries, count = size
    features, known = normal(positions, count), normal(entries, count, seed=1)
    compare("nearest_distance", (features, known))
    found = cpu.nearest_distance(features, known).double()
    torch.testing.assert_close(found, plain(features, known), rtol=1e-5, atol=0)
    wide = torch.stack([known, known], -1)[..., 1]
    assert torch.equal(cpu.nearest_distance(features, wide).double(), found)


def awkward():
    """Features and entries whose roundings are far apart, or do not tell them apart."""
    features, entries = normal(210, 40), normal(700, 40, seed=1)
    among = entries[torch.arange(210)]
    outlier = entries.clone()
    outlier[300] *= 1e4
    lone = torch.zeros(700, 40)
    lone[:, 0] = torch.arange(700.0)
    order = features[:1].expand(700, 40) + torch.linspace(3, 1, 700)[:, None] * entries
    return {
        "an offset": (features + 3e4, entries + 3e4),
        "entries far away": (features, entries + 1e3),
        "features far away": (1e3 * features, entries),
        "small numbers": (1e-6 * features, 1e-6 * entries),
        "numbers whose products are tiny": (1e-16 * features, 1e-16 * entries),
        "large numbers": (1e12 * features, 1e12 * entries),
        "too large to be squared": (1e18 * features, 1e18 * entries),
        "copies": (features, entries[:1].expand(700, 40)),
        "copies far away": (features + 1e4, entries[:1].expand(700, 40) + 1e4),
        "ties": (features.round(), entries.round()),
        "nearly ties": (features, entries[:1] + 1e-4 * entries),
        "the entries themselves": (among, entries),
        "beside the entries": (among + 1e-5 * features, entries),
        "an outlier": (features, outlier),
        "one feature": (features.clone().mul_(lone[:1] + 1), lone),
        "nothing but the centre": (torch.zeros(210, 40), torch.zeros(700, 40)),
        "nearer and nearer": (features, order),
    }


@on_cpu
@pytest.mark.parametrize("name", awkward())
def test_no_entry_is_passed_over(name, level):
    features, entries = awkward()[name]
    expected = plain(features, entries)
    found = cpu.nearest_distance(features, entries).double()
    # What was subtracted is known to a rounding of its size.
    size = float(torch.cat([features, entries]).double().sub(entries.double().mean(0)).abs().max())
    open_to_rounding = 1e-3 if "copies" in name or "ties" in name else 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=open_to_rounding * size)


@on_cpu
@pytest.mark.parametrize("lost", ["of the position", "of the entry"])
def test_an_entry_is_found_by_what_the_rounding_loses(lost, level):
    signs = torch.ones(2, 64)
    signs[1, :16] = -1  # the second one is farther off
    signs[:, 63] = 0
    large, small = 1000.0, 0.4 * 1000 / 5792  # half a step is more
    first = torch.zeros(64).index_fill(0, torch.tensor([63]), large)
    if lost == "of the position":
        features, entries = first + small * signs[0], large / 8 * signs
    else:
        features, entries = large / 8 * signs[0], first + small * signs
    entries = torch.stack([entries[1], entries[0], -entries[0], -entries[1]])
    found = cpu.nearest_distance(features[None], entries).double()
    torch.testing.assert_close(found, plain(features[None], entries), rtol=1e-5, atol=0)


def along_few_axes():
    """Many features that differ in few directions: those are compared first."""
    mixing = torch.linalg.qr(normal(70, 70, seed=2)).Q
    sizes = torch.logspace(1, -3, 70)
    features, entries = (normal(n, 70, seed=n) * sizes @ mixing for n in (1001, 1099))
    flat = torch.zeros(70).index_fill(0, torch.arange(5), 1.0)
    exactly = [(normal(n, 70, seed=n) * flat @ mixing) for n in (1001, 1099)]
    outlier = entries.clone()
    outlier[::50] += 100 * normal(22, 70, seed=3)
    return {
        "spread that falls": (features, entries),
        "an offset": (features + 300, entries + 300),
        "five axes": exactly,
        "positions beside the axes": (exactly[0] + 0.1 * normal(1001, 70, seed=4), exactly[1]),
        "far beside the axes": (features + 1e3 * mixing[69], entries),
        "outliers": (features, outlier),
        "the entries themselves": (entries[:1001], entries),
        "one axis": (features * mixing[:1], entries * 0 + entries[:, :1] * mixing[:1]),
        "copies of an axis": (features[:, :1].expand(1001, 70), entries[:, :1].expand(1099, 70)),
    }


@on_cpu
@pytest.mark.parametrize("name", along_few_axes())
def test_few_axes_pass_no_entry_over(name, level):
    features, entries = along_few_axes()[name]
    expected = plain(features, entries)
    found = cpu.nearest_distance(features, entries).double()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    torch.manual_seed(0)
    order = torch.randperm(len(entries))
    again = cpu.nearest_distance(features, entries[order]).double()
    torch.testing.assert_close(again, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))


@pytest.fixture(scope="module")
def searches():
    """Features, entries and one search for all instruction sets: each keeps other things of them.

    The same numbers for all: products of matrices are not the same bits each time.
    """
    sets = awkward() | {f"few axes: {name}": pair for name, pair in along_few_axes().items()}
    return {name: (*pair, ops.NearestSearch(pair[1])) for name, pair in sets.items()}


@on_cpu
@pytest.mark.parametrize("name", awkward())
def test_a_search_finds_the_same(searches, name, level):
    features, entries, search = searches[name]
    expected, found = cpu.nearest_distance(features, entries), search.distance(features)
    size = float(torch.cat([features, entries]).double().sub(entries.double().mean(0)).abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * size)


@on_cpu
@pytest.mark.parametrize("name", along_few_axes())
def test_a_search_along_few_axes_finds_the_same(searches, name, level):
    features, entries, search = searches[f"few axes: {name}"]
    expected = cpu.nearest_distance(features, entries)
    assert torch.equal(search.distance(features), expected)
    few = search.distance(features[:3])  # for which a search of its own looks for no axes
    torch.testing.assert_close(few, expected[:3], rtol=1e-5, atol=1e-5 * float(expected.max()))


@on_cpu
def test_what_a_search_needs_is_made_once(monkeypatch):
    made = []
    prepared = kernel.prepared
    monkeypatch.setattr(kernel, "prepared", lambda *given: made.append(1) or prepared(*given))
    features, search = normal(30, 20), ops.NearestSearch(normal(40, 20, seed=1))
    first = search.distance(features)
    assert torch.equal(search.distance(features), first)
    assert len(made) == 1


def test_a_search_asks_the_operation_where_the_kernel_does_not_stand():
    features, entries = normal(30, 20), normal(40, 20, seed=1)
    search, expected = ops.NearestSearch(entries), plain(features, entries)
    wide = search.distance(features.double())
    torch.testing.assert_close(wide, expected, rtol=1e-9, atol=1e-7)
    with ops.use_backend("reference"):
        assert torch.equal(search.distance(features), oracle.nearest_distance(features, entries))
    with FakeTensorMode() as mode:
        fake = ops.NearestSearch(mode.from_tensor(entries)).distance(mode.from_tensor(features))
    assert fake.shape == (30,)
    followed = search.distance(features.clone().requires_grad_())
    with pytest.raises(InputError, match="nearest_distance has no derivative"):
        followed.sum().backward()


@on_cpu
def test_what_is_not_finite_spoils_its_own_position_or_all(level):
    features, entries = normal(200, 9), normal(300, 9, seed=1)
    expected = cpu.nearest_distance(features, entries)
    for value in (torch.nan, torch.inf, -torch.inf):
        spoilt = features.clone()
        spoilt[70, 3] = value
        found = cpu.nearest_distance(spoilt, entries)
        assert not found[70].isfinite()
        others = torch.arange(200) != 70
        assert torch.equal(found[others], expected[others])
    entries[123, 4] = torch.nan
    assert cpu.nearest_distance(features, entries).isnan().all()


@on_cpu
@pytest.mark.parametrize("size", [(1000, 900, 20), (1000, 1100, 70)], ids=str)
def test_threads_do_not_change_the_bits(monkeypatch, size):
    positions, count, features = size
    sizes = torch.logspace(1, -3, features)
    features, entries = normal(positions, features) * sizes, normal(count, features, seed=1) * sizes
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(cpu.nearest_distance(features, entries))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@on_cpu
def test_other_processors_have_the_oracle(monkeypatch):
    features, entries = normal(30, 20), normal(40, 20, seed=1)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    expected = oracle.nearest_distance(features, entries)
    assert torch.equal(cpu.nearest_distance(features, entries), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(dtype):
    features, entries = normal(30, 20).to(dtype), normal(40, 20, seed=1).to(dtype)
    found = ops.nearest_distance(features, entries)
    assert found.dtype == dtype
    tolerance = 1e-9 if dtype == torch.float64 else 0.1
    torch.testing.assert_close(
        found.double(), plain(features, entries), rtol=tolerance, atol=tolerance
    )
    mixed = ops.nearest_distance(features, entries.double())
    torch.testing.assert_close(mixed, plain(features, entries), rtol=1e-9, atol=1e-7)


def test_memory_has_its_bound():
    assert family.working_floats(10_000, 64) == 640_000 + 512 * 2048


@pytest.mark.parametrize(
    ("features", "entries", "words"),
    [
        ((3,), (4, 3), r"features has shape \[3\]"),
        ((3, 0), (4, 0), r"features has shape \[3, 0\]"),
        ((3, 2), (0, 2), r"entries has shape \[0, 2\]"),
        ((3, 2), (4, 3), r"entries has shape \[4, 3\], but features has \[3, 2\]"),
    ],
)
def test_refusals(features, entries, words):
    with pytest.raises(InputError, match=words):
        ops.nearest_distance(torch.zeros(features), torch.zeros(entries))


@pytest.mark.parametrize(
    ("features", "entries", "words"),
    [
        ((3,), (4, 3), r"features has shape \[3\]"),
        ((3, 0), (4, 0), r"entries has shape \[4, 0\]"),
        ((3, 2), (0, 2), r"entries has shape \[0, 2\]"),
        ((3, 2), (4, 3), r"entries has shape \[4, 3\], but features has \[3, 2\]"),
    ],
)
def test_refusals_of_a_search(features, entries, words):
    with pytest.raises(InputError, match=words):
        ops.NearestSearch(torch.zeros(entries)).distance(torch.zeros(features))

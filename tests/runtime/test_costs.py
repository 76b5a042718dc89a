"""Costs of a machine: measured once, kept, read again; plans with others compute the same."""

import json
from dataclasses import asdict, replace
from math import isfinite

import numpy as np
import pytest

from pyramidflow.ops.convolution.methods import NOMINAL, TILES, Convolution, Costs, methods
from pyramidflow.runtime.cpu import CpuRuntime, costs, probe
from pyramidflow.runtime.cpu.costs import MachineCosts, machine_costs
from pyramidflow.runtime.cpu.demand import demand
from pyramidflow.runtime.cpu.network_plan import make_plan
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.numbers import relative_error


@pytest.fixture(autouse=True)
def compiled() -> None:
    require_backend("cpu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty folder of caches, and nothing that an earlier call found."""
    monkeypatch.delenv(costs.VARIABLE, raising=False)
    monkeypatch.setattr(costs, "cache_folder", lambda: tmp_path / "caches")
    machine_costs.cache_clear()
    yield tmp_path / "caches"
    machine_costs.cache_clear()


def measured_as(monkeypatch, *found: Costs) -> list[Costs]:
    """Let the probe find these, one after the other; returns those that are left."""
    left = list(found)
    monkeypatch.setattr(probe, "measure", lambda: left.pop(0))
    return left


SLOW = replace(NOMINAL, product_macs=1e6)
SLOWER = replace(NOMINAL, product_macs=5e5)


def test_costs_are_measured_once_and_kept(cache, monkeypatch):
    left = measured_as(monkeypatch, SLOW, SLOWER)
    found = machine_costs()
    assert found.costs == SLOW
    assert found.file is not None
    assert json.loads(found.file.read_text())["costs"]["product_macs"] == 1e6
    machine_costs.cache_clear()  # as in a new process
    assert machine_costs() == found
    assert left == [SLOWER]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"costs": {}, "measured": "2026-01-01"}', "negative", "short", "infinite"],
)
def test_a_file_that_is_not_in_order_is_measured_anew(cache, monkeypatch, content):
    measured_as(monkeypatch, SLOW, SLOWER)
    file = machine_costs().file
    machine_costs.cache_clear()
    changed = {
        "negative": {"weight_bytes": -1.0},
        "short": {"transforms": [1.0]},
        "infinite": {"direct_macs": float("inf")},
    }
    if content in changed:
        kept = {"costs": asdict(SLOW) | changed[content], "measured": "2026-01-01"}
        content = json.dumps(kept)
    file.write_text(content)
    assert machine_costs().costs == SLOWER


def test_other_libraries_and_processors_have_files_of_their_own(cache, monkeypatch):
    measured_as(monkeypatch, SLOW, SLOWER)
    first = machine_costs().file
    machine_costs.cache_clear()
    monkeypatch.setattr(costs.machine, "processor_name", lambda: "another one")
    assert machine_costs().costs == SLOWER
    assert machine_costs().file != first


def test_where_nothing_can_be_kept_the_nominal_costs_are_taken(cache, monkeypatch):
    measured_as(monkeypatch)
    cache.write_text("a file in the folder's place")
    found = machine_costs()
    assert found.costs == NOMINAL
    assert found.file is None
    assert "cannot be kept" in found.origin


def test_a_probe_without_memory_does_no_harm(cache, monkeypatch):
    def fail() -> Costs:
        raise MemoryError

    monkeypatch.setattr(probe, "measure", fail)
    assert machine_costs().costs == NOMINAL


def test_nominal_costs_may_be_asked_for(cache, monkeypatch):
    measured_as(monkeypatch)
    monkeypatch.setenv(costs.VARIABLE, "nominal")
    assert machine_costs().costs == NOMINAL
    assert not cache.exists()


def test_the_probe_finds_costs():
    found = asdict(probe.measure())
    numbers = [*found.pop("transforms"), *found.values()]
    assert len(numbers) == len(TILES) + 6
    assert all(isfinite(number) and number > 0 for number in numbers)


def test_factors_are_those_that_explain_the_times():
    rng = np.random.default_rng(0)
    factors = rng.uniform(0.8, 2, 11)
    parts = rng.uniform(0, 0.1, (22, 11))
    parts += np.tile(np.eye(11), (2, 1))  # each convolution is mostly one part's
    found = probe._factors(parts, parts @ factors)
    np.testing.assert_allclose(found, factors, rtol=0.05)


def test_what_no_convolution_shows_is_as_fast_as_the_machine():
    parts = np.diag([1.0, 2.0, 3.0, 0.0])
    found = probe._factors(parts[:3], np.array([3.0, 6.0, 9.0]))
    np.testing.assert_allclose(found, 3.0, rtol=1e-6)


def test_ways_that_are_alike_are_chosen_as_nominally():
    shape = ("one", Convolution(1, 32, 32, 128, 128, 7))
    best, second, *_ = (m for m in methods(shape[1]) if m.tile)
    ratio = second.milliseconds / best.milliseconds
    own = TILES.index(second.tile)
    for gain, tile in ((0.99, best.tile), (0.5, second.tile)):
        transforms = list(NOMINAL.transforms)
        transforms[own] *= gain / ratio
        found = MachineCosts(replace(NOMINAL, transforms=tuple(transforms)), "a test")
        assert make_plan([shape], 0, costs=found).layers[0].method.tile == tile


def test_plans_with_other_costs_compute_the_same():
    size = (96, 80)
    network = runtimes.trained_network(size, channels=16, levels=3, stacks=1)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    subject, expected = (
        runtimes.trained(network, contrast),
        runtimes.oracle(network, images, contrast),
    )
    chosen = set()
    for tile in TILES:
        cheap = tuple(1e-9 if tile == other else 1.0 for other in TILES)
        found = MachineCosts(replace(NOMINAL, transforms=cheap), "a test")
        plan = make_plan(*demand(subject, (1, *size)), costs=found)
        chosen |= {layer.method.tile for layer in plan.layers}
        maps = CpuRuntime(subject, (1, *size), plan).inspect(images)
        assert relative_error(maps, expected) <= runtimes.ERROR
        assert "a test" in plan.explain()
    assert len(chosen) > 3

"""Tiles against whole images; what a pixel of the map depends on; the budget between the two."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyramidflow.errors import InputError
from pyramidflow.model import Architecture, PyramidFlow
from pyramidflow.model.reach import Reach
from pyramidflow.ops.libraries.cpu import has_bfloat16
from pyramidflow.runtime import InspectionSettings, cpu, runtime_on
from pyramidflow.runtime.cpu import CpuRuntime, TiledRuntime, budget
from pyramidflow.runtime.cpu.demand import demand
from pyramidflow.runtime.cpu.network_plan import make_plan
from pyramidflow.runtime.cpu.tiling import Axis, cut, map_reach, tilings
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend
from tests.support.tile_cases import dependencies, small_tiling, tiled_runtime

require_backend("cpu")

SMALL = {"stacks": 1, "kernel_size": 3, "channels": 4}

REACHES = {
    "two levels": {**SMALL, "levels": 2},
    "three levels": {**SMALL, "levels": 3},
    "four levels": {**SMALL, "levels": 4},
    "two stacks": {**SMALL, "levels": 3, "stacks": 2},
    "kernel of 5": {**SMALL, "levels": 2, "kernel_size": 5},
    "maxima": {**SMALL, "levels": 3, "reduction": "max"},
    "resnet18": {"levels": 2, "stacks": 1, "kernel_size": 1, "encoder": "resnet18"},
    "resnet34": {"levels": 2, "stacks": 1, "kernel_size": 1, "encoder": "resnet34"},
}


@pytest.mark.parametrize("name", REACHES)
def test_reach_is_what_a_pixel_depends_on(name: str) -> None:
    torch.manual_seed(0)
    network = PyramidFlow(**REACHES[name], volume_norm="svn").double().eval()
    for parameter_name, weight in network.named_parameters():
        if "affine_params.conv2" in parameter_name:
            nn.init.normal_(weight, std=0.5)  # the others start at random already
    reach = map_reach(network.architecture)
    period = len(reach.spans)
    furthest = max(max(-first, last) for first, last in reach.spans)
    middle = -(-(furthest + 1) // reach.unit) * period
    size = 2 * (middle + period) * reach.spacing
    first = middle * reach.spacing - furthest - 1
    found = dependencies(network, first, size - 1 - first, size)
    for pixel, span in enumerate(reach.spans):
        columns = found[middle + pixel].nonzero().flatten()
        at = (middle + pixel) * reach.spacing
        measured = (first + int(columns[0]) - at, first + int(columns[-1]) - at)
        assert measured == span


@pytest.mark.parametrize("size", [133, 160, 203])
@pytest.mark.parametrize("name", ["three levels", "maxima", "resnet18"])
def test_every_tile_sees_what_its_part_of_the_map_depends_on(name: str, size: int) -> None:
    reach = map_reach(PyramidFlow(**REACHES[name]).architecture)
    found = [axis for count in range(1, 9) if (axis := cut(reach, size, count)) is not None]
    assert len(found) > 1
    assert all(a.length >= b.length for a, b in pairwise(found))
    for axis in found:
        spans = list(axis.spans())
        assert spans[0].image.start == 0
        assert spans[-1].image.stop == size
        assert [span.given.start for span in spans[1:]] == [span.given.stop for span in spans[:-1]]
        assert spans[-1].given.stop == -(-size // reach.spacing)
        for span in spans:
            assert span.image.start % reach.unit == 0
            assert span.image.start == span.start * reach.spacing
            assert span.image.stop - span.image.start == axis.length
            for pixel in range(span.given.start, span.given.stop):
                first, last = reach.spans[pixel % len(reach.spans)]
                at = pixel * reach.spacing
                assert span.image.start <= max(at + first, 0)
                assert min(at + last, size - 1) < span.image.stop


def test_tiles_are_the_shortest_that_cover_an_axis() -> None:
    reach = Reach(1, ((-3, 2), (-4, 1)))
    assert reach.lost_before == 4
    assert reach.lost_after(21) == 1
    assert cut(reach, 21, 2) == Axis(13, 1, (0, 8), (0, 12, 21))
    assert cut(reach, 9, 2) == Axis(7, 1, (0, 2), (0, 6, 9))
    assert cut(reach, 7, 2) is None


CASES = {
    "channel means": ((90, 101), (2, 2), {"levels": 3, "stacks": 1, "kernel_size": 3}),
    "spatial means": ((97, 90), (2, 2), {"levels": 2, "stacks": 2, "volume_norm": "svn"}),
    "two levels": ((77, 95), (2, 3), {"levels": 2, "stacks": 1, "channels": 3}),
    "three stacks": ((90, 100), (2, 2), {"levels": 2, "stacks": 3, "kernel_size": 5}),
    "four levels": ((150, 163), (2, 2), {"levels": 4, "stacks": 1, "kernel_size": 5}),
    "across": ((21, 150), (1, 4), {"levels": 3, "stacks": 1, "kernel_size": 3}),
    "down": ((150, 21), (4, 1), {"levels": 3, "stacks": 1, "kernel_size": 3}),
    "as published": ((16, 700), (1, 3), {}),
    "maxima": ((83, 96), (2, 2), {"levels": 3, "stacks": 1, "kernel_size": 3, "reduction": "max"}),
    "composed first": (
        (96, 97),
        (2, 2),
        {"levels": 3, "stacks": 1, "kernel_size": 3, "pyramid_difference": False},
    ),
    "resnet18": (
        (271, 290),
        (2, 2),
        {"levels": 2, "stacks": 1, "kernel_size": 3, "encoder": "resnet18"},
    ),
    "resnet18, spatial means": (
        (64, 610),
        (1, 2),
        {"levels": 3, "stacks": 1, "encoder": "resnet18", "volume_norm": "svn"},
    ),
    "resnet34": (
        (313, 21),
        (3, 1),
        {"levels": 2, "stacks": 1, "kernel_size": 3, "encoder": "resnet34"},
    ),
}


def assert_close(maps: Tensor, expected: Tensor) -> None:
    """Also at the borders: few pixels, which the norm of the whole would hide."""
    assert maps.shape == expected.shape
    assert (maps - expected).abs().max() <= 10 * runtimes.ERROR * expected.abs().max()
    assert (maps - expected).norm() <= runtimes.ERROR * expected.norm()


@pytest.mark.parametrize("name", CASES)
def test_tiles_equal_the_whole_image(name: str) -> None:
    size, counts, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    runtime = tiled_runtime(network, contrast, (1, *size), small_tiling(network, size, *counts))
    maps = runtime.inspect(images).clone()
    assert torch.equal(runtime.inspect(images), maps)
    assert_close(maps, runtimes.oracle(network, images, contrast))
    whole = runtimes.whole_runtime(network, contrast, (1, *size)).inspect(images)
    assert (maps - whole).norm() <= runtimes.ERROR * whole.norm()


@pytest.mark.parametrize("name", [name for name in CASES if name != "composed first"])
def test_tiles_with_spread_and_light_equal_the_whole_image(name: str) -> None:
    size, counts, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    images, contrast = runtimes.pictures(2, size), runtimes.full_contrast_of(network, size)
    runtime = tiled_runtime(network, contrast, (2, *size), small_tiling(network, size, *counts))
    assert_close(runtime.inspect(images), runtimes.oracle(network, images, contrast))
    assert "each tile 2 times" in runtime.plan.explain()


@pytest.mark.parametrize("name", ["channel means", "resnet18", "resnet34"])
def test_tiles_of_a_batch_of_both_depths(name: str) -> None:
    size, counts, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    contrast, tiling = runtimes.contrast_of(network, size), small_tiling(network, size, *counts)
    runtime = tiled_runtime(network, contrast, (3, *size), tiling)
    for dtype in (torch.uint8, torch.uint16):
        images = runtimes.pictures(3, size, dtype)
        expected = runtimes.oracle(network, images, contrast)
        assert (runtime.inspect(images) - expected).norm() <= runtimes.ERROR * expected.norm()


def test_tiles_allocate_nothing() -> None:
    size = (90, 100)
    network = runtimes.trained_network(size, levels=3, stacks=1, kernel_size=3)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    tiling = small_tiling(network, size, 2, 2)
    runtime = tiled_runtime(network, contrast, (1, *size), tiling)
    runtimes.assert_allocates_nothing(runtime, images)


def test_profile_and_plan_of_tiles() -> None:
    size = (90, 100)
    network = runtimes.trained_network(size, levels=3, stacks=1, kernel_size=3)
    contrast, tiling = runtimes.contrast_of(network, size), small_tiling(network, size, 2, 2)
    runtime = tiled_runtime(network, contrast, (1, *size), tiling)
    layers = [layer.name for layer in runtime.plan.layers]
    names = [name for name, _ in runtime.profile(runtimes.pictures(1, size), rounds=1)]
    assert names == ["lift", "pyramid", *layers, "anomaly map"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CpuRuntime, "profile", lambda *_: [("step", 3.0)])
        assert runtime.profile(runtimes.pictures(1, size)) == [("step", 4 * 3.0)]
    height, width = tiling.size
    assert runtime.plan.explain().startswith(f"2×2 tiles of {height}×{width} pixels")
    one = runtimes.whole_runtime(network, contrast, (1, *size)).plan
    share = tiling.computed_pixels / (size[0] * size[1])
    assert runtime.plan.milliseconds == pytest.approx(share * one.milliseconds, rel=0.35)


def test_tilings_start_with_the_fewest_pixels() -> None:
    found = tilings(map_reach(Architecture(levels=2, stacks=1, kernel_size=3)), 300, 200)
    pixels = [tiling.computed_pixels for tiling in found]
    assert pixels == sorted(pixels)
    assert pixels[0] > 300 * 200
    assert {tiling.count for tiling in found} >= {2, 4}
    assert found[0].computed_twice == pixels[0] / (300 * 200) - 1


SIZE = (256, 256)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that the budget leaves to others, in a process that has nothing yet."""
    monkeypatch.setattr(budget, "resident_bytes", lambda: 0)
    return budget.RUNTIME_RESERVE + budget.INSPECTION_BYTES * SIZE[0] * SIZE[1]


def test_whole_images_are_chosen_where_they_fit(alone: int) -> None:
    network = runtimes.trained_network(SIZE, levels=2, stacks=1, kernel_size=3)
    arguments = (runtimes.trained(network, runtimes.contrast_of(network, SIZE)), SIZE)
    assert isinstance(cpu.make(*arguments), CpuRuntime)
    roomy = InspectionSettings(memory_budget=alone + (64 << 20))
    assert isinstance(cpu.make(*arguments, roomy), CpuRuntime)
    with pytest.raises(InputError, match=r"this process needs at least \d+ MB, even in tiles"):
        cpu.make(*arguments, InspectionSettings(memory_budget=alone))
    for given in (8 << 20, 16 << 20):
        runtime = cpu.make(*arguments, InspectionSettings(memory_budget=alone + given))
        assert isinstance(runtime, TiledRuntime)
        assert runtime.plan.total_bytes <= given
        # Twice the memory of this plan would hold the next larger tile.
        assert runtime.plan.total_bytes > given / 2


def test_choice_counts_what_a_runtime_allocates(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (512, 512)
    network = runtimes.trained_network(size, levels=2, stacks=1, kernel_size=3, encoder="resnet18")
    contrast = runtimes.contrast_of(network, size)
    subject = runtimes.trained(network, contrast)
    needed = demand(subject, (1, *size))
    plan = make_plan(*needed)
    allocated = 0
    empty = torch.empty

    def counted(*arguments: Any, **settings: Any) -> Tensor:
        nonlocal allocated
        made = empty(*arguments, **settings)
        allocated += made.numel() * made.element_size()
        return made

    monkeypatch.setattr(torch, "empty", counted)
    runtime = CpuRuntime(subject, (1, *size), plan)
    for dtype in (torch.uint8, torch.uint16):
        runtime.inspect(runtimes.pictures(1, size, dtype))
    images = allocated - plan.weight_bytes - plan.workspace_bytes
    assert needed[1] == pytest.approx(images, abs=1 << 20)
    by_planes = runtimes.trained(network, contrast.changed(Tensor.contiguous))
    copied = demand(by_planes, (1, *size))
    assert copied[1] - needed[1] == 4 * sum(z.numel() for z in contrast.template)
    in_tiles = demand(by_planes, (1, *size), is_part=True)
    assert in_tiles[1] - needed[1] == 4 * 128 * 128


def test_encoder_of_ones_own_is_not_cut(alone: int) -> None:
    encoder = nn.Conv2d(3, 16, 3, padding=1)
    network = runtimes.trained_network(SIZE, levels=2, stacks=1, encoder=encoder, channels=16)
    arguments = (runtimes.trained(network, runtimes.contrast_of(network, SIZE)), SIZE)
    with pytest.raises(InputError, match="the encoder custom does not work in tiles"):
        cpu.make(*arguments, InspectionSettings(memory_budget=alone + (8 << 20)))
    assert map_reach(network.architecture) is None


def test_device_s_runtime_takes_tiles(alone: int) -> None:
    network = runtimes.trained_network(SIZE, levels=2, stacks=1, kernel_size=3)
    subject = runtimes.trained(network, runtimes.contrast_of(network, SIZE))
    settings = InspectionSettings(memory_budget=alone + (8 << 20))
    assert isinstance(runtime_on(torch.device("cpu"), subject, SIZE, settings), TiledRuntime)


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no AVX-512 BF16")
def test_tiles_round_products_where_asked(alone: int) -> None:
    network = runtimes.trained_network(SIZE, levels=2, stacks=1, kernel_size=3)
    arguments = (runtimes.trained(network, runtimes.contrast_of(network, SIZE)), SIZE)
    for precision in ("float32", "bfloat16"):
        runtime = cpu.make(
            *arguments, InspectionSettings(memory_budget=alone + (8 << 20), precision=precision)
        )
        assert isinstance(runtime, TiledRuntime)
        assert runtime.plan.bfloat16 == (precision == "bfloat16")


BUDGET_SCRIPT = """
import torch
from pyramidflow.runtime import InspectionSettings, TrainedNetwork
from pyramidflow.runtime.cpu import TiledRuntime, make
from pyramidflow.runtime.cpu.budget import RUNTIME_RESERVE, INSPECTION_BYTES, resident_bytes
from pyramidflow.model import Contrast, PyramidFlow
torch.set_num_threads(1)
side = 1024
network = PyramidFlow(levels=3, stacks=1, kernel_size=3).eval()
for block in network.flow.blocks:
    at = side >> (block.topology.at)
    block.volume_norm.running_mean = torch.full((1, 1, at, at), 0.01)
template = [torch.full((1, 16, side >> d, side >> d), 0.1) for d in range(3)]
images = torch.zeros(1, side, side, 3, dtype=torch.uint8)
budget = resident_bytes() + RUNTIME_RESERVE + INSPECTION_BYTES * side**2 + (100 << 20)
runtime = make(
    TrainedNetwork(network, Contrast(template), (0, 0, 0), (1, 1, 1)),
    (side, side),
    InspectionSettings(memory_budget=budget),
)
assert isinstance(runtime, TiledRuntime)
runtime.inspect(images)
peak = 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(peak, budget, budget - RUNTIME_RESERVE - INSPECTION_BYTES * side**2)
"""


def test_process_with_tiles_keeps_to_its_memory_budget() -> None:
    peak, budget, without_reserve = runtimes.printed(BUDGET_SCRIPT)
    assert peak <= budget
    # What the runtime counts is all that it takes, but for the allocator's own.
    assert peak <= without_reserve + (20 << 20)

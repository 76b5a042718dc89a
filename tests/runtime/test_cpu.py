"""The runtime against the network that it freezes; the plan; its memory."""

import gc
import weakref

import pytest
import torch
from torch import nn

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model import Contrast, PyramidFlow
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.ops.libraries.cpu import has_bfloat16
from pyramidflow.runtime import EagerRuntime, InspectionSettings, runtime_on
from pyramidflow.runtime.cpu import CpuRuntime
from pyramidflow.runtime.cpu.network_plan import make_plan
from tests.support import runtime_cases as runtimes
from tests.support.backends import require_backend

require_backend("cpu")

CASES = {
    "lift": ((64, 64), {}),
    "padded": ((50, 70), {"volume_norm": "svn"}),
    "without a norm": ((40, 48), {"volume_norm": "none"}),
    "seven levels": ((64, 64), {"levels": 7, "stacks": 2, "channels": 24}),
    "two levels": ((17, 31), {"levels": 2, "channels": 3}),
    "one stack, maxima": ((48, 40), {"levels": 3, "stacks": 1, "reduction": "max"}),
    "kernel of 3": ((40, 64), {"levels": 3, "kernel_size": 3}),
    "composed first": ((64, 48), {"levels": 3, "pyramid_difference": False}),
    "resnet18": ((96, 128), {"encoder": "resnet18", "stacks": 2}),
    "resnet34": ((60, 100), {"encoder": "resnet34", "volume_norm": "svn", "stacks": 1}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 3])
def test_runtime_equals_the_network(name: str, batch: int) -> None:
    size, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    images, contrast = runtimes.pictures(batch, size), runtimes.contrast_of(network, size)
    runtime = runtimes.whole_runtime(network, contrast, (batch, *size))
    maps = runtime.inspect(images).clone()
    expected = runtimes.oracle(network, images, contrast)
    assert maps.shape == expected.shape
    assert (maps - expected).norm() <= runtimes.ERROR * expected.norm()
    assert torch.equal(runtime.inspect(images), maps)


@pytest.mark.parametrize("name", ["lift", "padded", "resnet18"])
@pytest.mark.parametrize("operands", ["spread", "light", "both"])
def test_runtime_with_spread_and_light_equals_the_network(name: str, operands: str) -> None:
    size, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    images, full = runtimes.pictures(2, size), runtimes.full_contrast_of(network, size)
    contrast = Contrast(
        full.template,
        None if operands == "light" else full.inverse_spread,
        without_mean=operands != "spread",
    )
    runtime = runtimes.whole_runtime(network, contrast, (2, *size))
    maps = runtime.inspect(images).clone()
    expected = runtimes.oracle(network, images, contrast)
    assert (maps - expected).norm() <= runtimes.ERROR * expected.norm()
    assert torch.equal(runtime.inspect(images), maps)
    plain = runtimes.oracle(network, images, Contrast(full.template))
    assert (plain - expected).norm() > 1000 * runtimes.ERROR * expected.norm()
    found = network.anomaly_map(ops.normalize_image(images, runtimes.MEAN, runtimes.STD), contrast)
    assert (found - expected).norm() <= runtimes.ERROR * expected.norm()


def test_light_is_taken_off() -> None:
    """Couplings that do nothing yet: the latents follow the light alike, but for the borders."""
    size = (64, 80)
    network = PyramidFlow(levels=2, volume_norm="svn").eval()
    dark = runtimes.pictures(1, size) // 2
    with torch.no_grad():
        template = list(network(ops.normalize_image(dark, runtimes.MEAN, runtimes.STD)))
    plain, light = (Contrast(template, without_mean=without) for without in (False, True))
    found = [
        runtimes.whole_runtime(network, c, (1, *size)).inspect(dark + 100) for c in (plain, light)
    ]
    middle = (..., slice(24, 40), slice(24, 56))
    assert found[1][middle].max() < 0.1 * found[0][middle].min()
    assert runtimes.whole_runtime(network, light, (1, *size)).inspect(dark).max() < 1e-5


def test_runtime_with_an_encoder_of_its_own() -> None:
    size = (61, 90)
    encoder = nn.Conv2d(3, 20, 3, stride=2)
    network = runtimes.trained_network(size, encoder=encoder, channels=20, volume_norm="svn")
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    maps = runtimes.whole_runtime(network, contrast, (1, *size)).inspect(images)
    expected = network.anomaly_map(
        ops.normalize_image(images, runtimes.MEAN, runtimes.STD), contrast
    )
    assert (maps - expected).norm() <= runtimes.ERROR * expected.norm()


def test_runtime_reads_both_depths_of_pixels() -> None:
    size = (40, 40)
    network = runtimes.trained_network(size)
    contrast = runtimes.contrast_of(network, size)
    runtime = runtimes.whole_runtime(network, contrast, (1, *size))
    for dtype in (torch.uint8, torch.uint16, torch.uint8):
        images = runtimes.pictures(1, size, dtype)
        expected = runtimes.oracle(network, images, contrast)
        assert (runtime.inspect(images) - expected).norm() <= runtimes.ERROR * expected.norm()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    size = (64, 80)
    network = runtimes.trained_network(size)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    maps = [
        runtimes.whole_runtime(network, contrast, (1, *size), threads=n).inspect(images).clone()
        for n in (1, 2, 3)
    ]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


def test_number_of_threads_may_change_after_the_runtime_is_made() -> None:
    size = (64, 64)
    network = runtimes.trained_network(size)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    before = torch.get_num_threads()
    runtime = runtimes.whole_runtime(network, contrast, (1, *size), threads=1)
    maps = runtime.inspect(images).clone()
    torch.set_num_threads(3)
    try:
        assert torch.equal(runtime.inspect(images), maps)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no AVX-512 BF16")
@pytest.mark.parametrize("name", ["lift", "padded", "resnet18"])
def test_bfloat16_rounds_the_products_alone(name: str) -> None:
    """bfloat16 has 8 significant bits: operands are off by up to 0.2%, sums are float32."""
    size, settings = CASES[name]
    network = runtimes.trained_network(size, **settings)
    images, contrast = runtimes.pictures(1, size), runtimes.contrast_of(network, size)
    exact = runtimes.whole_runtime(network, contrast, (1, *size))
    rounded = runtimes.whole_runtime(network, contrast, (1, *size), precision="bfloat16")
    expected, maps = exact.inspect(images), rounded.inspect(images)
    error = (maps - expected).norm() / expected.norm()
    assert 1e-6 < error < 5e-3
    weights = [sum(layer.method.weight_bytes for layer in e.plan.layers) for e in (exact, rounded)]
    assert weights[1] < weights[0]
    assert "bf16" in rounded.plan.explain()


def test_runs_allocate_nothing() -> None:
    size = (64, 64)
    network = runtimes.trained_network(size)
    images, contrast = runtimes.pictures(1, size), runtimes.full_contrast_of(network, size)
    runtime = runtimes.whole_runtime(network, contrast, (1, *size))
    assert all(layer.method.tile for layer in runtime.plan.layers)
    runtimes.assert_allocates_nothing(runtime, images)


def test_runtime_that_is_dropped_gives_its_memory_back() -> None:
    size = (32, 32)
    network = runtimes.trained_network(size, levels=2, stacks=1)
    runtime = runtimes.whole_runtime(network, runtimes.contrast_of(network, size), (1, *size))
    memory = weakref.ref(runtime.plan)
    gc.disable()
    try:
        del runtime
        assert memory() is None
    finally:
        gc.enable()


def test_profile_names_every_step() -> None:
    size = (32, 32)
    network = runtimes.trained_network(size, levels=3, stacks=1)
    runtime = runtimes.whole_runtime(network, runtimes.contrast_of(network, size), (1, *size))
    found = runtime.profile(runtimes.pictures(1, size), rounds=1)
    layers = [layer.name for layer in runtime.plan.layers]
    assert [name for name, _ in found] == ["lift", "pyramid", *layers, "anomaly map"]
    assert all(milliseconds > 0 for _, milliseconds in found)


SHAPES = [
    ("large", Convolution(1, 128, 128, 256, 256, 7)),
    ("middle", Convolution(1, 128, 128, 64, 64, 7)),
    ("up", Convolution(1, 64, 128, 128, 128, 7, "up")),
]


def test_plan_keeps_to_its_budget() -> None:
    free = make_plan(SHAPES, 1000)
    assert free.total_bytes == free.weight_bytes + free.workspace_bytes + 1000
    previous = 0.0
    for share in (1.0, 0.7, 0.5, 0.3, 0.2):
        budget = int(share * free.total_bytes)
        plan = make_plan(SHAPES, 1000, budget)
        assert plan.total_bytes <= budget
        milliseconds = sum(layer.method.milliseconds for layer in plan.layers)
        assert milliseconds >= previous
        previous = milliseconds
    with pytest.raises(InputError, match=r"at least .* are needed"):
        make_plan(SHAPES, 1000, 1_000_000)


def test_plan_with_room_is_the_fastest_one() -> None:
    free, roomy = make_plan(SHAPES, 0), make_plan(SHAPES, 0, 8 * (1 << 30))
    assert [a.method.tile for a in free.layers] == [a.method.tile for a in roomy.layers]


def test_plan_prints_what_it_does() -> None:
    text = make_plan(SHAPES, 0, 1 << 30).explain()
    assert text.count("\n") == len(SHAPES) + 2
    assert "spectral 32" in text
    assert "budget 1074 MB" in text


BUDGET_SCRIPT = """
import torch
from pyramidflow.runtime import InspectionSettings, TrainedNetwork, cpu
from pyramidflow.runtime.cpu.budget import resident_bytes
from pyramidflow.model import Contrast, PyramidFlow
torch.set_num_threads(1)
network = PyramidFlow(encoder="resnet18").eval()
template = [torch.zeros(1, 64, 128 >> d, 128 >> d) for d in range(4)]
budget = resident_bytes() + (420 << 20)
runtime = cpu.make(
    TrainedNetwork(network, Contrast(template), (0, 0, 0), (1, 1, 1)),
    (512, 512),
    InspectionSettings(memory_budget=budget),
)
runtime.inspect(torch.zeros(1, 512, 512, 3, dtype=torch.uint8))
peak = 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(peak, budget, runtime.plan.weight_bytes)
"""


def test_process_keeps_to_its_memory_budget() -> None:
    peak, budget, weights = runtimes.printed(BUDGET_SCRIPT)
    assert peak <= budget
    assert weights > 200 << 20


def test_device_s_runtime_is_the_compiled_one() -> None:
    network = runtimes.trained_network((32, 32), levels=2, stacks=1)
    subject = runtimes.trained(network, runtimes.contrast_of(network, (32, 32)))
    runtime = runtime_on(torch.device("cpu"), subject, (32, 32), InspectionSettings(threads=1))
    assert isinstance(runtime, CpuRuntime)
    assert runtime.threads == 1
    assert runtime.precision == "float32"


def test_plain_runtime_stands_in_on_other_operations() -> None:
    network = runtimes.trained_network((32, 32), levels=2, stacks=1)
    subject = runtimes.trained(network, runtimes.contrast_of(network, (32, 32)))
    cpu, images = torch.device("cpu"), torch.randint(0, 256, (1, 32, 32, 3)).byte()
    expected = runtime_on(cpu, subject, (32, 32)).inspect(images)
    with ops.use_backend("reference"):
        runtime = runtime_on(cpu, subject, (32, 32), InspectionSettings(precision="float32"))
        assert isinstance(runtime, EagerRuntime)
        torch.testing.assert_close(runtime.inspect(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "settings", "words"),
    [
        ("cpu", {"precision": "tf32"}, "on cpu choose one of float32, bfloat16"),
        ("reference", {"precision": "bfloat16"}, "precision is 'bfloat16', but with the backend"),
        ("reference", {"threads": 2}, "threads is 2, but on cpu with the backend 'reference'"),
        ("reference", {"memory_budget": 10**9}, "memory_budget is 1000000000, but on cpu"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(backend, settings, words) -> None:
    network = runtimes.trained_network((32, 32), levels=2, stacks=1)
    subject = runtimes.trained(network, runtimes.contrast_of(network, (32, 32)))
    with ops.use_backend(backend), pytest.raises(InputError, match=words):
        runtime_on(torch.device("cpu"), subject, (32, 32), InspectionSettings(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"threads": 0},
        {"threads": -1},
        {"threads": 10**6},
        {"threads": 1.5},
        {"memory_budget": 0},
        {"precision": "double"},
    ],
)
def test_impossible_settings_are_refused(settings) -> None:
    (name,) = settings
    with pytest.raises(InputError, match=f"^{name} is"):
        InspectionSettings(**settings)


def test_runtime_refuses_a_template_of_another_size() -> None:
    network = runtimes.trained_network((32, 32), levels=2, stacks=1, volume_norm="svn")
    contrast = runtimes.contrast_of(network, (32, 40))
    with pytest.raises(InputError, match=r"these images need \[\(32, 32\), \(16, 16\)\]"):
        runtimes.whole_runtime(network, contrast, (1, 32, 32))


def test_runtime_refuses_running_means_of_another_size() -> None:
    network = runtimes.trained_network((32, 32), levels=2, stacks=1)
    template = [torch.zeros(1, 16, 40 >> level, 32 >> level) for level in range(2)]
    contrast = Contrast(template)
    with pytest.raises(InputError, match="works only at its training's image size"):
        runtimes.whole_runtime(network, contrast, (1, 40, 32))

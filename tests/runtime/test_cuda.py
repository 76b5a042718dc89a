"""The runtime for CUDA devices: arithmetic and splitting on the CPU, the rest on a device."""

import copy
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from pyramidflow import PyramidFlow, ops
from pyramidflow.errors import InputError
from pyramidflow.model import ComposedContrast, Contrast
from pyramidflow.runtime import TrainedNetwork, cuda
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.runtime.cuda.plan import BATCH_SIZES
from pyramidflow.runtime.cuda.replay import Recording, ReplayedNetwork, in_parts
from pyramidflow.runtime.cuda.runtime import CudaRuntime
from pyramidflow.runtime.folded import frozen_encoder
from pyramidflow.spec import IMAGENET_MEAN, IMAGENET_STD
from tests.support.numbers import relative_error

CPU = torch.device("cpu")
NETWORKS = [
    {"levels": 4, "stacks": 2, "channels": 5},
    {"levels": 2, "stacks": 1, "kernel_size": 3, "volume_norm": "svn"},
    {"levels": 3, "stacks": 1, "kernel_size": 5, "volume_norm": "none", "channels": 3},
    {"levels": 3, "stacks": 1, "kernel_size": 9, "reduction": "max", "statistics": "batch"},
    {"levels": 2, "stacks": 1, "kernel_size": 1, "pyramid_difference": False, "channels": 4},
    {"levels": 3, "stacks": 1, "encoder": "resnet18", "kernel_size": 3},
    {"levels": 2, "stacks": 1, "encoder": torch.nn.Conv2d(3, 6, 3, padding=1), "channels": 6},
]


def trained(size, **settings):
    """A network whose every part matters, with pixels and a template at this image size."""
    torch.manual_seed(0)
    network = PyramidFlow(**settings)
    pixels = torch.randint(0, 256, (3, *size, 3), dtype=torch.uint8)
    for block in network.flow.blocks:
        second = block.affine_params.conv2.weight
        torch.nn.init.normal_(second, std=second[0].numel() ** -0.5)
    for module in network.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 2)
            module.bias.normal_(0, 0.3)
    network.train()
    with torch.no_grad():
        for _ in range(9):
            network(normalised(pixels))
    network.eval()
    with torch.no_grad():
        template = [z.mean(0, keepdim=True) for z in network(normalised(pixels.flip(1)))]
    kind = Contrast if network.architecture.pyramid_difference else ComposedContrast
    return network, pixels, kind(template)


def subject(network, contrast):
    return TrainedNetwork(network, contrast, IMAGENET_MEAN, IMAGENET_STD)


def normalised(pixels):
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])
    return ops.normalize_image(pixels, mean, std)


def expected_map(network, pixels, contrast, dtype=torch.float64):
    network = copy.deepcopy(network).to(dtype)
    with torch.no_grad(), ops.use_backend("reference"):
        return network.anomaly_map(normalised(pixels).to(dtype), contrast.to(CPU, dtype))


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
@pytest.mark.parametrize("size", [(32, 32), (25, 38)])
def test_frozen_network_equals_the_network(settings, size):
    network, pixels, contrast = trained(size, **settings)
    frozen = FrozenNetwork(subject(network, contrast), CPU, torch.float32)
    for batch in (1, 3):
        found = frozen(pixels[:batch])
        assert found.dtype == torch.float32
        expected = expected_map(network, pixels[:batch], contrast)
        assert found.shape == expected.shape
        assert relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize("without_mean", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_frozen_network_with_spread_and_light(without_mean, dtype):
    network, pixels, contrast = trained((25, 38), **NETWORKS[0])
    spread = [1 + torch.rand_like(z) for z in contrast.template]
    contrast = Contrast([z + 0.2 for z in contrast.template], spread, without_mean)
    found = FrozenNetwork(subject(network, contrast), CPU, dtype)(pixels)
    exact = expected_map(network, pixels, contrast)
    limit = 1e-5
    if dtype != torch.float32:
        limit = 2 * relative_error(expected_map(network, pixels, contrast, dtype), exact)
    assert relative_error(found, exact) <= limit


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("settings", [NETWORKS[0], NETWORKS[5]], ids=str)
def test_half_types_are_as_exact_as_the_network_in_them(settings, dtype):
    network, pixels, contrast = trained((32, 32), **settings)
    frozen = FrozenNetwork(subject(network, contrast), CPU, dtype)
    exact = expected_map(network, pixels, contrast)
    plain = expected_map(network, pixels, contrast, dtype)
    assert relative_error(frozen(pixels), exact) <= 2 * relative_error(plain, exact)


def deep(pixels):
    """The same pictures and more: 16 bits, the low ones at random."""
    low = torch.randint(0, 256, pixels.shape, generator=torch.Generator().manual_seed(3))
    return (256 * pixels.long() + low).to(torch.uint16)


@pytest.mark.parametrize("settings", [NETWORKS[0], NETWORKS[5]], ids=str)
def test_frozen_network_reads_pixels_of_16_bits(settings):
    network, pixels, contrast = trained((32, 32), **settings)
    frozen = FrozenNetwork(subject(network, contrast), CPU, torch.float32)
    expected = expected_map(network, deep(pixels), contrast)
    assert relative_error(frozen(deep(pixels)), expected) <= 1e-5
    assert relative_error(frozen(pixels), expected) > 1e-4


def test_batch_norms_of_ones_own_encoder_are_folded():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, stride=2), torch.nn.BatchNorm2d(6), torch.nn.ReLU()
    )
    settings = {"levels": 2, "stacks": 1, "kernel_size": 1, "channels": 6}
    network, pixels, _ = trained((17, 17), encoder=module, **settings)
    frozen = frozen_encoder(network.encoder, CPU, torch.float32)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in frozen.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.encoder.modules())
    image = normalised(pixels)
    assert relative_error(frozen(image), network.encoder(image)) <= 1e-5


def test_plan_names_every_block():
    network, _, contrast = trained((32, 38), **NETWORKS[0])
    head, *lines = cuda.plan(subject(network, contrast), (32, 38)).explain().splitlines()
    assert head == (
        "32 × 38, half (float16, channels-last), a CUDA graph for each of the batch sizes 8, 4, 2, "
        "1"
    )
    assert lines[1] == (
        "block 1: down → level 3, 4×5; first 5 → 10, 7×7; second with coupling and 1×1 10 → 10, "
        "7×7, every second pixel"
    )
    assert "block 2: up → level 0, 32×40; first 5 → 10, four phases of 4×4" in lines[2]
    assert len(lines) == 8


def test_runtime_refuses_what_it_cannot_run():
    network, _, contrast = trained((16, 16), levels=2, stacks=1, channels=3, kernel_size=1)
    with pytest.raises(InputError, match="needs a CUDA device"):
        CudaRuntime(subject(network, contrast), (16, 16), CPU)


@pytest.mark.parametrize(
    ("count", "parts"),
    [(0, []), (1, [1]), (3, [2, 1]), (7, [4, 2, 1]), (8, [8]), (13, [8, 4, 1]), (22, [8, 8, 4, 2])],
)
def test_images_are_split_into_the_largest_batches(count, parts):
    assert list(in_parts(count, BATCH_SIZES)) == parts


class EagerRecorder:
    """Repeats calls as CUDA graphs do: in place, and over the results of one another."""

    def __init__(self):
        self.results, self.replayed, self.uploaded = [], [], []

    def turn(self):
        return nullcontext()

    def memory(self, shape, dtype):
        return torch.full(tuple(shape), torch.nan if dtype.is_floating_point else 255, dtype=dtype)

    def record(self, run):
        result = run().clone()
        self.results.append(result)

        def replay():
            for other in self.results:
                other.fill_(torch.nan)
            result.copy_(run())
            self.replayed.append(len(result))

        return Recording(replay, result)

    def upload(self, images, target):
        target.copy_(images)
        self.uploaded.append(len(images))


@pytest.mark.parametrize("count", [0, 1, 3, 13])
@pytest.mark.parametrize("depth", [8, 16])
def test_any_number_of_images_is_computed_and_no_more(count, depth):
    network, pixels, contrast = trained((16, 20), **NETWORKS[1])
    frozen = FrozenNetwork(subject(network, contrast), CPU, torch.float32)
    recorder = EagerRecorder()
    replayed = ReplayedNetwork(frozen, (16, 20), BATCH_SIZES, recorder)
    assert [len(r) for r in recorder.results] == 2 * list(BATCH_SIZES)
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 16, 20, 3), generator=generator).to(torch.uint8)
    pixels = pixels if depth == 8 else deep(pixels)
    maps = replayed(pixels)
    assert sum(recorder.replayed) == sum(recorder.uploaded) == count
    assert maps.shape == (count, 16, 20)
    if count > 0:
        assert relative_error(maps, expected_map(network, pixels, contrast)) <= 1e-5
    again = replayed(pixels.flip(1))
    assert again.data_ptr() != maps.data_ptr() or count == 0
    assert torch.equal(replayed(pixels), maps)


def brightness(images):
    return images.float().mean(-1)


def test_replayed_network_refuses_other_images():
    replayed = ReplayedNetwork(brightness, (4, 6), (2, 1), EagerRecorder())
    for images in (torch.zeros(1, 6, 4, 3), torch.zeros(4, 6, 3), torch.zeros(1, 4, 6, 3)):
        with pytest.raises(InputError, match=r"takes \[B, 4, 6, 3\], uint8 or uint16"):
            replayed(images)


def test_threads_take_turns_in_the_static_memory():
    class SlowRecorder(EagerRecorder):
        def upload(self, images, target):
            super().upload(images, target)
            time.sleep(0.001)  # a chance for the other threads

    replayed = ReplayedNetwork(brightness, (4, 6), (2, 1), SlowRecorder())
    images = [torch.full((3, 4, 6, 3), value, dtype=torch.uint8) for value in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for value, maps in enumerate(pool.map(replayed, images)):
            assert torch.equal(maps, torch.full((3, 4, 6), float(value)))


INTERPRETED = """
import torch
import tests.runtime.test_cuda as t
from pyramidflow import ops
from pyramidflow.ops.tf32 import convolutions_with_tf32
settings = {"levels": 3, "stacks": 1, "channels": 3, "kernel_size": 3}
network, pixels, contrast = t.trained((16, 20), **settings)
with ops.use_backend("triton"), convolutions_with_tf32(False):
    frozen = t.FrozenNetwork(t.subject(network, contrast), t.CPU, torch.float32)
    maps = [frozen(images) for images in (pixels, t.deep(pixels))]
for images, found in zip((pixels, t.deep(pixels)), maps):
    print(t.relative_error(found, t.expected_map(network, images, contrast)))
"""


def test_frozen_network_on_triton_kernels_equals_the_network():
    pytest.importorskip("triton", reason="triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", INTERPRETED]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    errors = [float(line) for line in run.stdout.split()]
    assert len(errors) == 2
    assert max(errors) <= 1e-5


on_a_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")


@pytest.mark.gpu
@on_a_device
@pytest.mark.parametrize(
    ("precision", "limit"),
    [("float32", 1e-5), ("tf32", 1e-2), ("half", 1e-2), ("bfloat16", 1e-1)],
)
@pytest.mark.parametrize("settings", [NETWORKS[0], NETWORKS[5]], ids=str)
def test_runtime_equals_the_network(settings, precision, limit):
    network, pixels, contrast = trained((32, 32), **settings)
    device = torch.device("cuda")
    runtime = CudaRuntime(subject(network, contrast), (32, 32), device, precision)
    expected = expected_map(network, pixels, contrast)
    maps = [runtime.inspect(images) for images in (pixels, pixels.to(device), pixels[:2])]
    for found in maps:
        assert found.device.type == "cuda"
        assert relative_error(found.cpu(), expected[: len(found)]) <= limit
    assert torch.equal(maps[0], maps[1])
    expected = expected_map(network, deep(pixels), contrast)
    for images in (deep(pixels), deep(pixels).to(device)):
        assert relative_error(runtime.inspect(images).cpu(), expected) <= limit
    assert torch.equal(runtime.inspect(pixels), maps[0])
    many = torch.cat([pixels, pixels.flip(1), pixels.flip(2)] * 2)  # 18: 8, 8 and 2
    expected = expected_map(network, many, contrast)
    assert relative_error(runtime.inspect(many).cpu(), expected) <= limit


@pytest.fixture
def on_cuda():
    """A small runtime, pixels, and the maps of each image alone."""
    network, pixels, contrast = trained((32, 32), **NETWORKS[0])
    runtime = CudaRuntime(subject(network, contrast), (32, 32), torch.device("cuda"))
    return runtime, pixels, [runtime.inspect(image[None]).cpu() for image in pixels]


def assert_alike(found: list[Tensor], alone: list[Tensor]) -> None:
    for number, maps in enumerate(found):
        assert torch.equal(maps.cpu(), alone[number % len(alone)])


@pytest.mark.gpu
@on_a_device
def test_images_in_flight_do_not_mix(on_cuda):
    runtime, pixels, alone = on_cuda
    together = [runtime.inspect(image[None]) for _ in range(20) for image in pixels]
    assert_alike(together, alone)


@pytest.mark.gpu
@on_a_device
def test_streams_take_turns_in_the_static_memory(on_cuda):
    runtime, pixels, alone = on_cuda
    streams = [torch.cuda.Stream() for _ in pixels]
    found = []
    for _ in range(20):
        for image, stream in zip(pixels, streams, strict=True):
            with torch.cuda.stream(stream):
                found.append(runtime.inspect(image[None]))
    torch.cuda.synchronize()
    assert_alike(found, alone)


@pytest.mark.gpu
@on_a_device
def test_runtime_refuses_other_images(on_cuda):
    runtime, pixels, _ = on_cuda
    for images in (pixels[:1, :16], pixels[:1].float()):
        with pytest.raises(InputError, match="this runtime takes"):
            runtime.inspect(images)

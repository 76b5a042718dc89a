"""What a GPU would have to do: kernels, bytes and operations that are counted."""

import json

import pytest
import torch

from benchmarks.gpu import bounds
from pyramidflow import PyramidFlow
from pyramidflow.model import Contrast
from pyramidflow.runtime import TrainedNetwork


def test_bounds_counts_kernels_and_operations():
    batch, channels, window = 2, 16, 49
    found = bounds.ours("lift", 64, batch, torch.float16)
    kernels, _, operations = bounds.counts(found)
    dual, single = 5, 3  # two copies, convolution, LeakyReLU, fused; without the copies
    pyramid, contrast, ends = 2 * 3, 4 + 3, 3 + 2
    assert kernels == ends + pyramid + 4 * (2 * dual + 2 * single) + contrast
    wide = 2 * window * (2 * channels) ** 2  # a 7×7 convolution of 2C to 2C channels
    second = wide + 2 * channels**2
    stack = (32**2 + 16**2) * (wide + second)  # dual
    stack += 16**2 * wide // 2 + 8**2 * second  # down
    stack += 33**2 * 2 * 16 * channels * 4 * 2 * channels + 64**2 * second  # up
    assert operations == batch * (2 * 3 * channels * 64**2 + 4 * stack) / 1e9


def test_bounds_counts_bytes():
    found = bounds.ours("lift", 64, 2, torch.float16)
    fused = [launch for launch in found if launch.operation.startswith("conv_coupling")]
    by_shape = {launch.shape: launch for launch in fused}
    pixels, channels = 32 * 32, 16
    weights = 32 * 32 * 49 + channels**2
    elements = 2 * pixels * (channels + 2 * channels + channels) + pixels + weights
    assert by_shape[(2, channels, 32, 32)].read_and_written == 2 * elements
    # The level of the block down is a quarter of what its convolution reads.
    elements = 2 * (64 * 2 * channels + 256 * 2 * channels) + 64 + weights
    assert by_shape[(2, channels, 8, 8)].read_and_written == 2 * elements
    assert found[0].read_and_written == 2 * 64 * 64 * 3 * (1 + 2) + 2 * 3 * 4
    down, up = (launch for launch in found[9:11] if launch.operation == "copy_")
    assert down.read_and_written == 2 * 2 * channels * (pixels + pixels)
    assert up.read_and_written == 2 * 2 * channels * (pixels // 4 + pixels)


@pytest.mark.parametrize("encoder", ["lift", "resnet18"])
def test_bounds_counts_what_runs(encoder):
    def run(device):
        network = PyramidFlow(encoder=encoder, kernel_size=3, stacks=1, levels=3).eval()
        side = 32 if encoder == "lift" else 8
        shapes = [(1, network.architecture.channels, side >> d, side >> d) for d in range(3)]
        template = [torch.zeros(shape) for shape in shapes]
        trained = TrainedNetwork(network, Contrast(template), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        frozen = bounds.FrozenNetwork(trained, device, torch.float32)
        images = torch.zeros((2, 32, 32, 3), dtype=torch.uint8, device=device)
        with bounds.Recorder() as recorder:
            frozen(images)
        return recorder.launches

    assert run(torch.device("cpu")) == run(torch.device("meta"))


def test_bounds_bound_is_the_longer_of_memory_and_arithmetic():
    device = bounds.Device("", bandwidth=10, half=100, tf32=50, float32=5, source="")
    memory = bounds.Launch("copy", (), read_and_written=30)
    arithmetic = bounds.Launch("convolution", (), 10, operations=400, dense=True)
    other = bounds.Launch("depthwise", (), 10, operations=400)
    assert bounds.bound([memory, arithmetic], device, half=True) == 3 + 4
    assert bounds.bound([memory, arithmetic], device, half=False) == 3 + 8
    assert bounds.bound([other], device, half=True) == 80


def test_bounds_are_written_with_every_number(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "CASES", (("baseline", "lift", 64),))
    file = tmp_path / "gpu_bounds.md"
    bounds.main(["--output", str(file)])
    cases = json.loads(file.with_suffix(".json").read_text())["cases"]
    assert list(cases) == ["baseline, 64×64, batch 1", "baseline, 64×64, batch 8"]
    one, eight = (found["half"]["gigaflop"] for found in cases.values())
    assert eight == pytest.approx(8 * one)
    assert file.read_text().count("| half | ") == 2

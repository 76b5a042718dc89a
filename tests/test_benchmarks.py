"""The benchmarks' own arithmetic and refusals."""

import json
import sys
from pathlib import Path

import pytest
import torch

from pyramidflow import PyramidFlow
from pyramidflow.data import Preprocessing

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import gpu_model, peers


def test_peers_refuses_a_folder_without_the_released_code(tmp_path):
    (tmp_path / "model.py").touch()
    with pytest.raises(SystemExit, match=r"holds no autoFlow\.py: give a checkout") as refusal:
        peers.main(["--released", str(tmp_path)])
    assert "\n" not in str(refusal.value)


def test_peers_measures_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "baseline-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released", "reference", "default"]
    peers.main([*arguments, "--output", str(file)])
    released, reference, default = json.loads(file.with_suffix(".json").read_text())["cases"][
        "baseline-256"
    ]["rows"]
    assert "--released PATH" in released["missing"]
    for row in (reference, default):
        assert len(row["milliseconds"]) == 2
        assert 0 < row["start_memory"] <= row["peak_memory"]
    text = file.read_text()
    assert "| released | not measured: no checkout was given" in text
    assert f"| default | {default['version']} | " in text
    assert str(peers.ROOT) not in text


def test_peers_ratio_is_to_the_released_code():
    common = {"version": "1", "note": "", "start_memory": 1, "peak_memory": 2, "errors": {}}
    lines = peers.table(
        [
            {"name": "released", "median_milliseconds": 90.0, **common},
            {"name": "default", "median_milliseconds": 30.0, **common},
        ]
    )
    assert "| 30 | 3.00× | 2 | 1 |" in lines[-1]


def test_gpu_model_counts_kernels_and_operations():
    batch, channels, window = 2, 16, 49
    found = gpu_model.ours("none", 64, batch, torch.float16)
    kernels, _, operations = gpu_model.counts(found)
    dual, single = 5, 3  # two copies, convolution, LeakyReLU, fused; without the copies
    pyramid, contrast, ends = 2 * 3, 4 + 3, 3 + 2
    assert kernels == ends + pyramid + 4 * (2 * dual + 2 * single) + contrast
    wide = 2 * window * (2 * channels) ** 2  # a 7×7 convolution of 2C to 2C channels
    second = wide + 2 * channels**2
    stack = (32**2 + 16**2) * (wide + second)  # dual
    stack += 16**2 * wide // 2 + 8**2 * second  # down
    stack += 33**2 * 2 * 16 * channels * 4 * 2 * channels + 64**2 * second  # up
    assert operations == batch * (2 * 3 * channels * 64**2 + 4 * stack) / 1e9


def test_gpu_model_counts_bytes():
    found = gpu_model.ours("none", 64, 2, torch.float16)
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


@pytest.mark.parametrize("encoder", ["none", "resnet18"])
def test_gpu_model_counts_what_runs(encoder):
    def run(device):
        network = PyramidFlow(encoder=encoder, kernel_size=3, stacks=1, levels=3).eval()
        side = 32 if encoder == "none" else 8
        shapes = [(1, network.architecture.channels, side >> d, side >> d) for d in range(3)]
        template = [torch.zeros(shape) for shape in shapes]
        arguments = (network, template, Preprocessing(32), device, torch.float32)
        frozen = gpu_model.FrozenNetwork(*arguments)
        images = torch.zeros((2, 32, 32, 3), dtype=torch.uint8, device=device)
        with gpu_model.Recorder() as recorder:
            frozen(images)
        return recorder.launches

    assert run(torch.device("cpu")) == run(torch.device("meta"))


def test_gpu_model_bound_is_the_longer_of_memory_and_arithmetic():
    device = gpu_model.Device("", bandwidth=10, half=100, tf32=50, float32=5, source="")
    memory = gpu_model.Launch("copy", (), read_and_written=30)
    arithmetic = gpu_model.Launch("convolution", (), 10, operations=400, dense=True)
    other = gpu_model.Launch("depthwise", (), 10, operations=400)
    assert gpu_model.bound([memory, arithmetic], device, half=True) == 3 + 4
    assert gpu_model.bound([memory, arithmetic], device, half=False) == 3 + 8
    assert gpu_model.bound([other], device, half=True) == 80

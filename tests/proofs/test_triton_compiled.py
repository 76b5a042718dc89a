"""The Triton kernels as compiled for a GPU: registers, and the block sizes that are tried."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton", reason="triton is not installed")

from triton.runtime.autotuner import Autotuner  # noqa: E402

from benchmarks.operations import triton_resources  # noqa: E402
from pyramidflow.kernels import (  # noqa: E402
    anomaly_map,
    conv1x1,
    coupling,
    coupling_sums,
    normalize,
    pyramid_down,
    pyramid_down_max,
    pyramid_up,
    tuning,
)
from pyramidflow.kernels.tuning import INTERPRETED  # noqa: E402

pytestmark = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles and tunes nothing")


@pytest.mark.parametrize(
    ("architecture", "dtype", "shape"),
    [
        (80, torch.float32, 1),
        (86, torch.bfloat16, 0),
        (89, torch.float16, 0),
        (90, torch.float32, 0),
        (100, torch.float16, 1),
        (120, torch.bfloat16, 1),
    ],
)
def test_kernels_compile_without_spills(architecture: int, dtype: torch.dtype, shape: int) -> None:
    """Each architecture with one type and shape; every one with all: the resources' script."""
    kernels = set()
    level = triton_resources.SHAPES[shape]
    for _, used in triton_resources.resources(architecture, level, dtype):
        assert used.spill_bytes == 0, used
        kernels.add(used.kernel)
    assert kernels == {
        "pyramid_down_forward_kernel",
        "pyramid_down_max_forward_kernel",
        "pyramid_down_backward_kernel",
        "pyramid_down_max_backward_kernel",
        "pyramid_up_forward_kernel",
        "pyramid_up_backward_kernel",
        "soft_clamp_sums_forward_kernel",
        "affine_coupling_forward_kernel",
        "affine_coupling_sums_backward_kernel",
        "affine_coupling_backward_kernel",
        "invertible_conv1x1_forward_kernel",
        "invertible_conv1x1_backward_kernel",
        "coupling_conv1x1_forward_kernel",
        "conv_coupling_conv1x1_forward_kernel",
        "anomaly_map_forward_kernel",
        "anomaly_map_tolerant_forward_kernel",
        "anomaly_map_backward_kernel",
        "normalize_image_forward_kernel",
    }


def launch_of(tuner: Autotuner, channels: int, height: int, width: int, strides: Any) -> Any:
    """What a launch tells the choice of block sizes: of one level, or of two neighbouring ones."""
    sizes = (channels, height, width)
    if "BLOCK_H" in tuner.configs[0].kwargs:
        sizes += ((height + 1) // 2, (width + 1) // 2)
    return {"sizes": sizes, "strides": (strides,), "height": height, "width": width}


@pytest.mark.parametrize(
    "kernel", [pyramid_up.pyramid_up_forward_kernel, coupling.affine_coupling_forward_kernel]
)
def test_configurations_follow_the_shape(kernel: Any) -> None:
    def kept(channels: int, side: int, channel_stride: int) -> list[triton.Config]:
        arguments = launch_of(kernel, channels, side, side, (1, channel_stride, 1, 1))
        configs: list[triton.Config] = kernel.early_config_prune(kernel.configs, arguments)
        assert 1 <= len(configs) <= tuning.KEPT
        return configs

    nchw, channels_last = kept(64, 256, 256**2)[0], kept(64, 256, 1)[0]
    assert channels_last.kwargs["BLOCK_C"] > nchw.kwargs["BLOCK_C"]
    few = [config for config in kept(3, 256, 256**2) if config.kwargs["BLOCK_C"] > 8]
    assert not few, "more than twice the lanes that three channels need"


TUNED = {
    name: tuner
    for module in (
        *(pyramid_down, pyramid_down_max, pyramid_up),
        *(coupling, coupling_sums, conv1x1, anomaly_map, normalize),
    )
    for name, tuner in vars(module).items()
    if isinstance(tuner, Autotuner)
}


@pytest.mark.parametrize("name", TUNED)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 130),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    channels_last=st.booleans(),
)
def test_configurations_waste_few_lanes(
    name: str, channels: int, height: int, width: int, channels_last: bool
) -> None:
    strides = (1, 1, 1, 1) if channels_last else (1, height * width, width, 1)
    tuner = TUNED[name]
    arguments = launch_of(tuner, channels, height, width, strides)
    kept = tuner.early_config_prune(tuner.configs, arguments)
    assert 1 <= len(kept) <= tuning.KEPT
    assert all(config in tuner.configs for config in kept)
    extents = {
        "BLOCK_C": channels,
        "BLOCK_O": channels,
        "BLOCK_H": (height + 1) // 2,
        "BLOCK_W": (width + 1) // 2,
        "BLOCK_P": height * width,
    }
    if name == "invertible_conv1x1_backward_kernel":
        del extents["BLOCK_P"]  # a program goes through the pixels of its chunk

    def lanes(config: triton.Config) -> int:
        """Elements that a launch computes, those outside the shape too."""
        blocks = {axis: size for axis, size in config.kwargs.items() if axis in extents}
        return int(np.prod([len(range(0, extents[a], b)) * b for a, b in blocks.items()]))

    fewest = min(map(lanes, tuner.configs))
    assert max(map(lanes, kept)) <= 2 * fewest

"""The CUDA sources as nvcc compiles them: what each kernel takes of a GPU."""

import re

import pytest

from benchmarks.operations import cuda_resources

ARCHITECTURE = 90
"""One of those that the benchmark of these resources lists; all would take minutes."""

SHARED_LIMIT = 48 * 1024


@pytest.fixture(scope="module")
def compiled() -> list[cuda_resources.Kernel]:
    reason = cuda_resources.missing_tool()
    if reason:
        pytest.skip(reason)
    return cuda_resources.compiled_kernels(ARCHITECTURE)


def test_every_kernel_is_compiled_in_every_type(compiled) -> None:
    text = "".join(source.read_text() for source in cuda_resources.SOURCES)
    written = set(re.findall(r"__global__.*?(\w+_kernel)\(", text, re.DOTALL))
    types = {name: set() for name in written}
    for kernel in compiled:
        name, *words = kernel.name.split()
        types[name].update({"float32", "float16", "bfloat16"}.intersection(words))
    for name in written - set(cuda_resources.SCALAR_KERNELS):
        assert types[name] == {"float32", "float16", "bfloat16"}, name


def test_no_kernel_has_local_memory(compiled) -> None:
    assert [k for k in compiled if k.local_bytes or k.spills] == []


def test_kernels_load_128_bits_at_a_time(compiled) -> None:
    narrow = {k.name.split()[0] for k in compiled if not k.wide_loads}
    assert narrow == set(cuda_resources.SCALAR_KERNELS)


def test_kernels_that_write_levels_store_128_bits_at_a_time(compiled) -> None:
    # The others write sums, or one value for each pixel.
    writes_no_level = {
        "anomaly_map_forward_kernel",
        "anomaly_map_tolerant_forward_kernel",
        "channel_mean_kernel",
        "invertible_conv1x1_backward_kernel",
        "pixel_sum_kernel",
        "sum_partials_kernel",
    }
    assert {k.name.split()[0] for k in compiled if not k.wide_stores} == writes_no_level


def test_every_kernel_is_launched_within_the_shared_memory(compiled) -> None:
    launched = cuda_resources.launched_shared_bytes()
    assert set(launched) == {kernel.name for kernel in compiled}
    static = {kernel.name: kernel.shared_bytes for kernel in compiled}
    for name, shared_bytes in launched.items():
        # The architecture's own kilobyte of a block's shared memory is not of the 48.
        assert static[name] in (0, 1024)
        assert 0 <= shared_bytes <= SHARED_LIMIT, name
    tiled = [name for name in launched if name.startswith("coupling_conv1x1")]
    assert min(launched[name] for name in tiled) >= 64 * 32 * 4  # a tile of all channels

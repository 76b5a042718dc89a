"""The CUDA sources, compiled unchanged for the host, against the oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow.ops import CouplingMode
from pyramidflow.ops.coupling import cuda as coupling
from pyramidflow.ops.coupling.schema import mean_shape
from pyramidflow.ops.dispatch import steps
from tests.support import cuda_cases, cuda_host
from tests.support.sanitizers import run_with

ours_of, oracle_of = steps("cuda"), steps("reference")

SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

SAMPLE = "contiguous", "channels_last"
HALF_TYPES = (torch.float16, torch.bfloat16)
HALF_SHAPES = ((2, 3, 7, 5), (1, 16, 8, 24))


@pytest.fixture(scope="module", autouse=True)
def host_library():
    path = cuda_host.library_or_skip()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the oracle's tensors are too small to share
    with cuda_host.library(path):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("reduction", ["nearest", "max"])
@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("shape", cuda_cases.PYRAMID_SHAPES)
def test_pyramid_down(shape, reduction, layout):
    cuda_cases.pyramid_down(shape, reduction, torch.float32, layout)


@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("shape", cuda_cases.PYRAMID_SHAPES)
def test_pyramid_residual_merge_and_their_gradient(shape, layout):
    cuda_cases.pyramid_up(shape, torch.float32, layout)


@pytest.mark.parametrize("layout", SAMPLE)
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_pyramid_in_half_types(dtype, layout):
    for shape in (*HALF_SHAPES, (1, 2, 40, 144), (1, 24, 17, 11)):
        for reduction in ("nearest", "max"):
            cuda_cases.pyramid_down(shape, reduction, dtype, layout)
        cuda_cases.pyramid_up(shape, dtype, layout)


def test_pyramid_down_takes_the_first_of_equal_maxima():
    x = torch.full((1, 1, 20, 20), 3.0)
    _, index = ours_of.pyramid_down(x, "max")
    assert (index[0, 0, 1:-1, 1:-1] == 0).all()
    _, expected = oracle_of.pyramid_down(x, "max")
    assert torch.equal(index, expected)


def test_pyramid_down_keeps_a_nan_maximum():
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 7, 7] = torch.nan  # cells at its border hold one NaN, not the first of their pixels
    y, _ = ours_of.pyramid_down(x, "max")
    expected, _ = oracle_of.pyramid_down(x, "max")
    assert torch.equal(y.isnan(), expected.isnan())


@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_affine_coupling_and_its_inverse(mode, layout):
    for shape in cuda_cases.SHAPES if layout in SAMPLE else cuda_cases.SHAPES[:2]:
        for size in cuda_cases.params_sizes(shape):
            if shape[0] > 0 or size == shape[2:]:
                cuda_cases.affine_coupling(shape, size, mode, torch.float32, layout)


@pytest.mark.parametrize("layout", SAMPLE)
@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_affine_coupling_in_half_types(mode, dtype, layout):
    for shape in HALF_SHAPES:
        for size in cuda_cases.params_sizes(shape)[:2]:
            cuda_cases.affine_coupling(shape, size, mode, dtype, layout)


@pytest.mark.parametrize("layout", SAMPLE)
def test_channel_means_of_more_channels_than_a_block_holds(layout):
    shape = (1, 400, 2, 3)
    mode = ("cvn", "sample", "taken")
    cuda_cases.affine_coupling(shape, shape[2:], mode, torch.float32, layout)


@pytest.mark.parametrize("mode", [("svn", "sample", "taken"), ("svn", "batch", "taken")], ids=str)
def test_pixel_means_over_many_tiles(mode):
    for channels in (64, 66):
        shape = (2, channels, 50, 47)
        cuda_cases.affine_coupling(shape, (50, 47), mode, torch.float32, "contiguous")


@pytest.mark.parametrize("layout", SAMPLE)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_coupling_conv1x1(mode, layout):
    for shape in ((2, 3, 17, 13), (1, 8, 16, 24), (1, 1, 1, 1), (1, 70, 3, 5), (0, 4, 6, 6)):
        cuda_cases.coupling_conv1x1(shape, shape[2:], mode, torch.float32, layout)
    cuda_cases.coupling_conv1x1((2, 8, 6, 5), (12, 9), mode, torch.float32, layout)


@pytest.mark.parametrize("layout", SAMPLE)
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_coupling_conv1x1_in_half_types(dtype, layout):
    for shape in HALF_SHAPES:
        for mode in cuda_cases.coupling_modes()[:3]:
            cuda_cases.coupling_conv1x1(shape, shape[2:], mode, dtype, layout)


@pytest.mark.parametrize("dtype", cuda_cases.TYPES)
@pytest.mark.parametrize("mode", cuda_cases.coupling_modes(), ids="-".join)
def test_couplings_without_a_log_determinant(mode, dtype):
    for shape in ((2, 3, 17, 13), (1, 70, 3, 5)):
        cuda_cases.without_log_det(shape, shape[2:], mode, dtype, "channels_last")
    cuda_cases.without_log_det((2, 8, 6, 5), (12, 9), mode, dtype, "contiguous")


def test_coupling_conv1x1_of_more_channels_than_a_block_holds():
    mode = ("cvn", "sample", "taken")
    cuda_cases.coupling_conv1x1((1, 310, 1, 2), (1, 2), mode, torch.float32, "contiguous")


@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
def test_invertible_conv1x1(layout):
    for shape in (*cuda_cases.SHAPES, (1, 70, 5, 9), (2, 130, 1, 3), (2, 64, 4, 9)):
        cuda_cases.invertible_conv1x1(shape, torch.float32, layout)


@pytest.mark.parametrize("layout", SAMPLE)
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_invertible_conv1x1_in_half_types(dtype, layout):
    for shape in HALF_SHAPES:
        cuda_cases.invertible_conv1x1(shape, dtype, layout)


@pytest.mark.parametrize("layout", cuda_cases.LAYOUTS)
@pytest.mark.parametrize("dtype", cuda_cases.TYPES)
def test_anomaly_map(dtype, layout):
    for shape in ((2, 3, 17, 13), (1, 16, 8, 24), (3, 70, 6, 5), (1, 1, 1, 1), (0, 4, 6, 6)):
        for levels, template_batch in ((1, 1), (3, shape[0])):
            cuda_cases.anomaly_map(shape, levels, template_batch, dtype, layout)


def test_anomaly_map_has_no_gradient_where_nothing_differs():
    z = torch.randn(1, 4, 6, 6)
    (grad,) = ours_of.anomaly_map_backward(torch.ones(1, 6, 6), [z], [z.clone()])
    assert torch.equal(grad, torch.zeros_like(z))


@pytest.mark.parametrize("dtype", cuda_cases.TYPES)
@pytest.mark.parametrize("pixel_type", [torch.uint8, torch.uint16])
def test_normalize_image(pixel_type, dtype):
    for shape in ((2, 5, 7), (1, 8, 16), (3, 1, 1), (0, 4, 4), (1, 50, 64), (2, 64, 64)):
        for offset in (0, 1):
            cuda_cases.normalize_image(shape, pixel_type, dtype, offset)


@st.composite
def levels(draw, most_pixels=24):
    """Shape, type and layout of a level; a half type's has room for its rounding to average out."""
    dtype = draw(st.sampled_from(cuda_cases.TYPES))
    least = 1 if dtype == torch.float32 else 4
    sides = st.integers(least, most_pixels), st.integers(least, 2 * most_pixels)
    shape = draw(st.tuples(st.integers(0, 5), st.integers(min(least, 2), 18), *sides))
    return shape, dtype, draw(st.sampled_from(cuda_cases.LAYOUTS))


drawn = settings(max_examples=60, deadline=None, derandomize=True)


@drawn
@given(levels(), st.sampled_from(["nearest", "max"]))
def test_drawn_pyramids(level, reduction):
    shape, dtype, layout = level
    cuda_cases.pyramid_down(shape, reduction, dtype, layout)
    cuda_cases.pyramid_up(shape, dtype, layout)


@drawn
@given(
    levels(most_pixels=12),
    st.sampled_from(cuda_cases.coupling_modes()),
    st.none() | st.tuples(st.integers(4, 30), st.integers(4, 30)),
)
def test_drawn_couplings(level, mode, params):
    shape, dtype, layout = level
    if shape[0] == 0 or params is None:
        params = shape[2:]
    cuda_cases.affine_coupling(shape, params, mode, dtype, layout)
    cuda_cases.coupling_conv1x1(shape, params, mode, dtype, layout)


@drawn
@given(levels(), st.integers(1, 4), st.booleans())
def test_drawn_convolutions_and_maps(level, count, one_template):
    shape, dtype, layout = level
    cuda_cases.invertible_conv1x1(shape, dtype, layout)
    cuda_cases.anomaly_map(shape, count, 1 if one_template else shape[0], dtype, layout)


@drawn
@given(levels(), st.sampled_from([torch.uint8, torch.uint16]), st.integers(0, 8))
def test_drawn_images(level, pixel_type, offset):
    (batch, _, height, width), dtype, _ = level
    cuda_cases.normalize_image((batch, height, width), pixel_type, dtype, offset)


@pytest.mark.parametrize("shape", [(2, 3, 0, 5), (2, 3, 4, 0), (0, 3, 4, 5)], ids=str)
def test_nothing_in_nothing_out(shape):
    batch, channels, height, width = shape
    x, coarse = (
        torch.randn(shape),
        torch.randn(batch, channels, (height + 1) // 2, (width + 1) // 2),
    )
    for reduction in ("nearest", "max"):
        y, index = ours_of.pyramid_down(x, reduction)
        assert y.shape == coarse.shape
        assert ours_of.pyramid_down_backward(y, index, height, width, reduction).shape == shape
    assert ours_of.pyramid_merge(coarse, x).shape == shape
    assert ours_of.pyramid_up_backward(x).shape == coarse.shape
    params = torch.randn(batch, 2 * channels, height, width)
    for norm, statistics, _ in cuda_cases.coupling_modes():
        y, mean, log_det = ours_of.affine_coupling(x, params, None, norm, statistics, 2.0)
        assert y.shape == shape
        assert list(mean.shape) == mean_shape(params, CouplingMode(norm, statistics))
        assert torch.equal(log_det, torch.zeros(batch))
        backward = (x, log_det, x, params, mean, False, norm, statistics, 2.0)
        grads = ours_of.affine_coupling_backward(*backward)
        assert [grad.shape for grad in grads] == [x.shape, params.shape]
    _, grad_weight = ours_of.invertible_conv1x1_backward(x, x, torch.eye(channels))
    assert torch.equal(grad_weight, torch.zeros(channels, channels))
    assert ours_of.anomaly_map([x], [x[:1]]).shape == (batch, height, width)


def test_two_runs_give_the_same_bits():
    x, params = torch.randn(2, 20, 17, 13), torch.randn(2, 40, 17, 13)
    arguments = (x, params, None, "svn", "batch", 2.0)
    for first, second in zip(
        ours_of.affine_coupling(*arguments),
        ours_of.affine_coupling(*arguments),
        strict=True,
    ):
        assert torch.equal(first, second)


def test_a_refused_launch_is_an_error_with_its_name():
    x = torch.randn(1, 310, 1, 1)
    described, _, mean = coupling._means(x, torch.randn(1, 620, 1, 1), None, CouplingMode("svn"))
    with pytest.raises(RuntimeError, match=r"coupling_conv1x1.*cudaErrorInvalidValue"):
        coupling._coupling_conv1x1(x, x, mean, x, None, x, x, x, described)


def test_the_sanitizers_find_nothing():
    """The smaller half of the comparisons under AddressSanitizer and UndefinedBehaviorSanitizer."""
    library = cuda_host.build(*SANITIZERS)
    output = run_with(("libasan.so", "libubsan.so"), "cuda_cases", str(library))
    assert "cases equal the oracle" in output

"""Triton's other kernels against the oracle: 1×1 convolution, anomaly map, normalisation.

``test_triton.py`` runs them interpreted.
"""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyramidflow.ops.dispatch import steps

pytest.importorskip("triton", reason="triton is not installed")

from tests.support.triton_cases import (
    CLAMP,
    DEVICE,
    DTYPES,
    FORWARD,
    GRADIENT,
    MODES,
    blocks_chosen,
    compare,
    comparison,
    coupling_arguments,
    draw,
    drawn,
    levels,
    pyramid_of,
    relative_error,
    smallest_blocks,
)

ours_of, oracle_of = steps("triton"), steps("reference")


@comparison
@smallest_blocks
@pytest.mark.parametrize(
    ("size", "layout", "dtype"),
    [
        ((2, 18, 9, 19), "contiguous", torch.float32),
        ((2, 18, 5, 13), "channels_last", torch.float32),
        ((2, 18, 5, 13), "strided", torch.float32),
        ((2, 16, 8, 32), "contiguous", torch.float32),
        ((2, 18, 5, 13), "contiguous", torch.float16),
        ((1, 3, 5, 4), "channels_last", torch.bfloat16),
        ((3, 1, 1, 1), "contiguous", torch.float32),
    ],
)
def test_invertible_conv1x1_equals_oracle(
    size: tuple[int, ...], layout: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(6)
    y = draw(*size, layout=layout, dtype=dtype)
    weight = torch.randn(size[1], size[1]).to(dtype)
    grad = draw(*size, layout=layout, dtype=dtype)
    compare("invertible_conv1x1", y, weight, tolerance=FORWARD)
    compare("invertible_conv1x1", y, weight.T, tolerance=FORWARD)
    compare("invertible_conv1x1_backward", grad, y, weight, tolerance=GRADIENT)


PYRAMIDS = [
    ((2, 18, 9, 14), 3, 1, torch.float32, "contiguous"),
    ((3, 5, 8, 11), 2, 3, torch.float32, "channels_last"),
    ((2, 5, 8, 11), 2, 1, torch.float32, "strided"),
    ((1, 2, 3, 1), 1, 1, torch.float32, "contiguous"),
    ((0, 2, 4, 4), 2, 1, torch.float32, "contiguous"),
    ((2, 5, 9, 14), 2, 1, torch.float16, "contiguous"),
    ((2, 5, 9, 14), 2, 1, torch.bfloat16, "channels_last"),
]


@comparison
@smallest_blocks
@pytest.mark.parametrize(("size", "levels", "templates", "dtype", "layout"), PYRAMIDS)
def test_anomaly_map_equals_oracle(
    size: tuple[int, ...], levels: int, templates: int, dtype: torch.dtype, layout: str
) -> None:
    torch.manual_seed(8)
    sizes = pyramid_of(size, levels)
    latents = [draw(*s, layout=layout, dtype=dtype) for s in sizes]
    template = [draw(templates, *s[1:], layout=layout, dtype=dtype) for s in sizes]
    if size[0]:
        latents[0][0, 0, 0, 0] = template[0][0, 0, 0, 0]  # no gradient where nothing differs
    grad = torch.randn(size[0], *size[2:]).to(dtype)
    compare("anomaly_map", latents, template, tolerance=FORWARD)
    compare("anomaly_map_backward", grad, latents, template, tolerance=GRADIENT)
    spread = [draw(1, *s[1:], layout=layout, dtype=dtype).abs() for s in sizes]
    shift = [draw(*size[:2], 1, 1, layout=layout, dtype=torch.float32) for _ in sizes]
    for operands in ((spread, None), (None, shift), (spread, shift)):
        compare("anomaly_map", latents, template, *operands, tolerance=FORWARD)
        compare("anomaly_map", latents, template, *operands, 1, tolerance=FORWARD)
    compare("anomaly_map", latents, template, None, None, 2, tolerance=FORWARD)


@comparison
@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(
    "size", [(2, 17, 31, 3), (2, 16, 32, 3), (1, 1, 1, 3), (0, 4, 4, 3)], ids=str
)
@pytest.mark.parametrize("planar", [False, True])
def test_normalize_image_equals_oracle(
    kind: torch.dtype, size: tuple[int, ...], planar: bool
) -> None:
    torch.manual_seed(9)
    image = torch.randint(0, torch.iinfo(kind).max + 1, size).to(kind)
    if planar:
        image = image.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    mean, std = torch.rand(3), torch.rand(3) + 0.1
    expected = oracle_of.normalize_image(image, mean.double(), std.double(), torch.float64)
    for dtype in DTYPES:
        ours = ours_of.normalize_image(image.to(DEVICE), mean.to(DEVICE), std.to(DEVICE), dtype)
        assert ours.shape == expected.shape
        assert ours.dtype == dtype
        assert ours.is_contiguous()
        if expected.numel():
            # One rounding to the result's type, on values that the float32 arithmetic has to 1e-6.
            limit = 1e-6 + (torch.finfo(dtype).eps if dtype != torch.float32 else 0)
            assert relative_error(ours, expected) <= limit


@comparison
@drawn(10)
@given(levels(18), st.sampled_from(MODES), st.integers(1, 3), st.booleans(), st.integers(0, 23))
def test_drawn_convolutions_and_maps_equals_oracle(
    level: Any, mode: tuple[str, str, str | None], count: int, one_template: bool, blocks: int
) -> None:
    size, dtype, layout = level
    torch.manual_seed(blocks)
    x, params, mean = coupling_arguments(size, mode, "same", dtype, layout)
    weight = torch.randn(size[1], size[1]).to(dtype)
    sizes = pyramid_of(size, count)
    latents = [draw(*s, layout=layout, dtype=dtype) for s in sizes]
    templates = 1 if one_template else size[0]
    template = [draw(templates, *s[1:], layout=layout, dtype=dtype) for s in sizes]
    grad = torch.randn(size[0], *size[2:]).to(dtype)
    fused = (x, params, mean, weight, *mode[:2], CLAMP)
    with blocks_chosen(blocks):
        compare("invertible_conv1x1", x, weight, tolerance=FORWARD)
        compare("invertible_conv1x1_backward", x, x, weight, tolerance=GRADIENT)
        compare("coupling_conv1x1", *fused, tolerance=FORWARD, log_det=2)
        compare("anomaly_map", latents, template, tolerance=FORWARD)
        compare("anomaly_map_backward", grad, latents, template, tolerance=GRADIENT)

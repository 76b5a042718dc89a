"""Calls of the public operations with arguments of every kind, drawn by hypothesis."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from pyramidflow.ops import CouplingMode

SIZES = st.fixed_dictionaries(
    {
        "batch": st.sampled_from([1, 2, 3, 0]),
        "channels": st.sampled_from([1, 2, 3, 4, 8, 17, 0]),
        "height": st.sampled_from([1, 2, 3, 5, 6, 9, 16, 0]),
        "width": st.sampled_from([1, 2, 3, 4, 7, 11, 33, 0]),
    }
)
REAL_SIZES = SIZES.filter(lambda s: all(n for name, n in s.items() if name != "batch"))
LAYOUTS = st.sampled_from(
    ["contiguous", "channels-last", "strided", "transposed", "flipped", "expanded", "negated"]
)
DISTINCT_LAYOUTS = st.sampled_from(["contiguous", "channels-last", "strided", "transposed"])
FLOATS = st.sampled_from([torch.float32] * 5 + [torch.float64, torch.float16, torch.bfloat16])
OTHER_TYPES = st.sampled_from(
    [
        *(torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64),
        *(torch.float16, torch.float64, torch.bfloat16, torch.float8_e4m3fn),
    ]
)
NO_TENSORS = st.sampled_from([None, 1.5, "x", [1.0], True, {}])


@dataclass(frozen=True)
class Call:
    """A public function's name and keyword arguments."""

    name: str
    arguments: dict[str, Any]


def values(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype in (torch.uint8, torch.uint16):
        return torch.randint(0, torch.iinfo(dtype).max + 1, shape, generator=generator).to(dtype)
    return torch.randn(shape, generator=generator).to(dtype)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same shape, and but for ``expanded`` and ``negated`` the same values, laid out anew."""
    if layout == "channels-last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided" and x.dim():
        return torch.stack([x, x], -1)[..., 1]
    if layout == "transposed" and x.dim() >= 2:
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "flipped" and x.dim():
        return x.flip(-1)
    if layout == "expanded" and x.dim() and x.numel():
        return x[..., :1].expand(x.shape)
    if layout == "negated" and x.is_floating_point():
        return torch._neg_view(x)
    return x


def half(size: int) -> int:
    return (size + 1) // 2


@st.composite
def calls(draw: st.DrawFn, name: str, flawed: bool = True) -> Call:
    """A call of an operation, and unless it shall be valid, with a flaw or two now and then."""
    sizes = draw(SIZES if flawed else REAL_SIZES)
    shapes, options = draw(ARGUMENTS[name](**sizes))
    dtype = draw(FLOATS) if flawed else torch.float32
    for operand in draw(st.lists(st.sampled_from(sorted(shapes)), max_size=2)) if flawed else []:
        shapes[operand] = draw(_other_shape(shapes[operand]))
    layouts = LAYOUTS if flawed else DISTINCT_LAYOUTS
    operands: dict[str, Any] = {}
    for seed, (operand, shape) in enumerate(shapes.items()):
        kind = options.pop("pixels") if operand == "image" else dtype
        operands[operand] = laid_out(values(shape, kind, seed), draw(layouts))
    if flawed and draw(st.integers(0, 3)) == 0:
        operand = draw(st.sampled_from(sorted(operands)))
        operands[operand] = draw(_flaw(operands[operand]))
    return Call(name, _in_pyramids(operands) | options)


def _other_shape(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    places = st.integers(0, max(len(shape) - 1, 0))
    changed = st.builds(
        lambda place, size: (*shape[:place], size, *shape[place + 1 :]),
        places,
        st.sampled_from([0, 1, 2, 3, 5]),
    )
    return st.one_of(changed, changed, st.just(shape[1:]), st.just((1, *shape)))


def _flaw(x: Tensor) -> st.SearchStrategy[Any]:
    flaws = [NO_TENSORS, OTHER_TYPES.map(x.to), st.just(x.to("meta")), st.just(x.int().to_sparse())]
    if x.dim() and x.numel():
        flaws.append(st.just(values((), x.dtype, 0).expand(*x.shape[:-1], 1 << 44)))
    return st.one_of(*flaws)


def _in_pyramids(operands: dict[str, Any]) -> dict[str, Any]:
    """Levels ``latents 0``, ``latents 1`` … as one list each."""
    arguments: dict[str, Any] = {}
    for operand, value in operands.items():
        name, _, level = operand.partition(" ")
        if level:
            arguments.setdefault(name, []).append(value)
        else:
            arguments[name] = value
    return arguments


def _pyramid_down(batch: int, channels: int, height: int, width: int) -> st.SearchStrategy[Any]:
    shapes = {"x": (batch, channels, height, width)}
    reductions = st.sampled_from(["nearest", "max", "nearest", "max", "mean", 3])
    return reductions.map(lambda reduction: (shapes, {"reduction": reduction}))


def _neighbours(fine: str) -> Any:
    def strategy(batch: int, channels: int, height: int, width: int) -> st.SearchStrategy[Any]:
        shapes = {
            fine: (batch, channels, height, width),
            "coarse": (batch, channels, half(height), half(width)),
        }
        return st.builds(lambda: (dict(shapes), {}))

    return strategy


def _coupling(level: str, *, matrix: bool = False) -> Any:
    @st.composite
    def strategy(
        draw: st.DrawFn, batch: int, channels: int, height: int, width: int
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
        size = draw(
            st.sampled_from([(height, width)] * 2 + [(2 * height, 2 * width), (3, half(width))])
        )
        shapes = {level: (batch, channels, height, width), "params": (batch, 2 * channels, *size)}
        if matrix:
            shapes["weight"] = (channels, channels)
        means = [(1, 1, *size), (batch, channels, 1, 1), (1, channels, *size), (1, 1, 1, 1)]
        mean = draw(st.sampled_from([None, None, *means, (batch, 1, *size)]))
        if mean is not None:
            shapes["mean"] = mean
        mode = CouplingMode(
            draw(st.sampled_from(["cvn", "svn", "none", "cvn", "svn", "bn"])),
            draw(st.sampled_from(["sample", "batch"] * 3 + ["all"])),
            draw(st.sampled_from([2.0, 2.0, 1.3, 2.0, 0.0, float("nan")])),
        )
        return shapes, {"mode": draw(st.sampled_from([mode] * 9 + ["cvn"]))}

    return strategy


@st.composite
def _conv_coupling(
    draw: st.DrawFn, batch: int, channels: int, height: int, width: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    resample, kernel = draw(st.sampled_from(["none", "down"])), draw(st.sampled_from([1, 3, 5]))
    inner, reached = draw(st.integers(1, 5)), (height, width)
    if resample == "down":
        reached = (half(height), half(width))
    shapes = {
        "x": (batch, channels, *reached),
        "hidden": (batch, inner, height, width),
        "kernel": (2 * channels, inner, kernel, kernel),
        "weight": (channels, channels),
        "mean": draw(st.sampled_from([(1, 1, *reached), (1, channels, 1, 1)])),
    }
    return shapes, {"resample": resample}


def _conv1x1(batch: int, channels: int, height: int, width: int) -> st.SearchStrategy[Any]:
    shapes = {"y": (batch, channels, height, width), "weight": (channels, channels)}
    return st.builds(lambda: (dict(shapes), {}))


@st.composite
def _conv2d(
    draw: st.DrawFn, batch: int, channels: int, height: int, width: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    kernel = draw(st.sampled_from([1, 3, 3, 5, 7, 2, 13]))
    shapes = {
        "x": (batch, channels, height, width),
        "weight": (draw(st.sampled_from([1, 2, 5, 16, 0])), channels, kernel, kernel),
    }
    options = {
        "resample": draw(st.sampled_from(["none", "up", "down"] * 2 + ["both"])),
    }
    return shapes, options


@st.composite
def _anomaly_map(
    draw: st.DrawFn, batch: int, channels: int, height: int, width: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shapes: dict[str, tuple[int, ...]] = {}
    templates = draw(st.sampled_from([1, batch]))
    has_spread, has_shift = (draw(st.sampled_from([False, False, True])) for _ in range(2))
    for level in range(draw(st.integers(1, 4))):
        shapes[f"latents {level}"] = (batch, channels, height, width)
        shapes[f"template {level}"] = (templates, channels, height, width)
        if has_spread:
            shapes[f"inverse_spread {level}"] = (1, channels, height, width)
        if has_shift:
            shapes[f"shift {level}"] = (batch, channels, 1, 1)
        height, width = half(height), half(width)
    return shapes, {"tolerance": draw(st.sampled_from([0, 0, 0, 1, 3, 4, -1, 1.5]))}


def _nearest_distance(batch: int, channels: int, height: int, width: int) -> st.SearchStrategy[Any]:
    shapes = {"features": (batch * width, channels), "entries": (height * width, channels)}
    return st.builds(lambda: (dict(shapes), {}))


@st.composite
def _normalize_image(
    draw: st.DrawFn, batch: int, channels: int, height: int, width: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    shapes = {"image": (batch, height, width, 3), "mean": (3,), "std": (3,)}
    types = [torch.float32] * 3 + [torch.float64, torch.float16, torch.int32]
    options = {
        "dtype": draw(st.sampled_from(types)),
        "pixels": draw(st.sampled_from([torch.uint8, torch.uint16, torch.uint8, torch.float32])),
    }
    return shapes, options


ARGUMENTS: dict[str, Any] = {
    "pyramid_down": _pyramid_down,
    "pyramid_residual": _neighbours("fine"),
    "pyramid_merge": _neighbours("residual"),
    "affine_coupling": _coupling("x"),
    "affine_coupling_inverse": _coupling("y"),
    "coupling_conv1x1": _coupling("x", matrix=True),
    "conv_coupling_conv1x1": _conv_coupling,
    "invertible_conv1x1": _conv1x1,
    "conv2d": _conv2d,
    "anomaly_map": _anomaly_map,
    "nearest_distance": _nearest_distance,
    "normalize_image": _normalize_image,
}
"""Shapes of the operands and the other arguments of every public function."""

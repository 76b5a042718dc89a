"""The ways to compute one convolution on the CPU: directly, or in the frequency domain in tiles.

How long each takes is expected from its work and what that costs, not from a stopwatch: the same
shapes and costs give the same choice, and so the same bits, on every run. The operation itself
knows the nominal costs alone; a runtime measures those of its machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pyramidflow.errors import InputError
from pyramidflow.ops.convolution.direct import folded_size

Resampling = Literal["none", "up", "down"]

TILES = (8, 12, 16, 20, 24, 32)
"""Sides ``N`` of the transforms that the compiled kernels have."""

MAX_CHANNELS = 512
"""Channels that an operand of the kernels' product has room for."""

CORE_CACHE_BYTES = 1 << 20
"""Spectra that stay in a core's own cache between the steps."""

SHARED_CACHE_BYTES = 12 << 20
"""Weights that stay in the last-level cache while every block reads them again."""


@dataclass(frozen=True)
class Work:
    """What a method has to do for one convolution.

    Attributes:
        direct_macs: multiply-adds of the direct convolution, channels filled up to vectors.
        product_macs: real multiply-adds of the spectral products in float32.
        rounded_macs: those with operands rounded to bfloat16.
        transforms: transforms of two tiles of one channel, the inverse ones included.
        tile: their side ``N``.
        weight_bytes: of transformed weights that are read from memory.
        shared_weight_bytes: of those that are read from the last-level cache.
    """

    direct_macs: float = 0.0
    product_macs: float = 0.0
    rounded_macs: float = 0.0
    transforms: float = 0.0
    tile: int = 0
    weight_bytes: float = 0.0
    shared_weight_bytes: float = 0.0


@dataclass(frozen=True)
class Costs:
    """What a convolution's parts cost on one core of a processor; only the ratios decide.

    Attributes:
        direct_macs: multiply-adds of the direct convolution in a millisecond.
        product_macs: those of the spectral products in float32.
        rounded_macs: those in bfloat16.
        weight_bytes: bytes of transformed weights read from memory in a millisecond.
        shared_weight_bytes: those from the last-level cache.
        prepared_bytes: bytes of weights that are transformed in a millisecond.
        transforms: milliseconds to transform two tiles of one channel, for each of ``TILES``.
    """

    direct_macs: float
    product_macs: float
    rounded_macs: float
    weight_bytes: float
    shared_weight_bytes: float
    prepared_bytes: float
    transforms: tuple[float, ...]

    def milliseconds(self, work: Work) -> float:
        """Expected of a method; what it costs to call it comes to this."""
        spectral = work.product_macs / self.product_macs + work.rounded_macs / self.rounded_macs
        transforms = work.transforms * self.transforms[TILES.index(work.tile)] if work.tile else 0.0
        weights = work.weight_bytes / self.weight_bytes
        weights += work.shared_weight_bytes / self.shared_weight_bytes
        return work.direct_macs / self.direct_macs + transforms + spectral + weights


NOMINAL = Costs(
    direct_macs=50e6,
    product_macs=48e6,
    rounded_macs=96e6,
    weight_bytes=25e6,
    shared_weight_bytes=150e6,
    prepared_bytes=1.3e6,
    transforms=(45e-6, 190e-6, 450e-6, 750e-6, 1.1e-3, 2.2e-3),
)
"""Of an AMD EPYC (Zen 4): where nothing was measured, and where every machine must choose alike."""

DIRECT_CALL, SPECTRAL_CALL = 0.02, 0.01
"""Milliseconds that a call takes beside its work."""


@dataclass(frozen=True)
class Convolution:
    """Shape of a convolution with ``k // 2`` zero padding.

    Attributes:
        batch: ``B``.
        in_channels: ``I``.
        out_channels: ``O``.
        height: of the input, in pixels.
        width: of the input, in pixels.
        kernel: odd ``k``.
        resample: ``"none"``; ``"up"``: the input is first up-sampled by 2; ``"down"``: of the
            result every other pixel is wanted.
    """

    batch: int
    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int
    resample: Resampling = "none"


@dataclass(frozen=True)
class Method:
    """One way to compute a convolution.

    Attributes:
        tile: side ``N`` of the transforms; 0 is the direct convolution.
        block: pairs of tiles that are transformed before their product.
        independent: whether each block belongs to one thread and its cache, the weights being read
            again for each; else all threads share one block, and the weights are read once.
        milliseconds: expected on one core.
        work: that takes them.
        multiply_adds: real ones, of the products alone.
        weight_bytes: weights as they are kept.
        workspace_bytes: scratch memory, float32.
        bfloat16: whether weights and operands of the products are rounded to it.
    """

    tile: int
    block: int
    independent: bool
    milliseconds: float
    work: Work
    multiply_adds: int
    weight_bytes: int
    workspace_bytes: int
    bfloat16: bool = False

    @property
    def name(self) -> str:
        """As a plan prints it."""
        if not self.tile:
            return "direct"
        return f"spectral {self.tile}" + (" bf16" if self.bfloat16 else "")


def methods(shape: Convolution, bfloat16: bool = False, costs: Costs = NOMINAL) -> list[Method]:
    """Every way to compute a convolution, the fastest first.

    Args:
        shape: of the convolution.
        bfloat16: whether the spectral ways round the operands of their products to it.
        costs: of the machine.
    """
    return sorted(_methods(shape, bfloat16, costs), key=lambda method: method.milliseconds)


@cache
def fastest(shape: Convolution) -> Method:
    """The way that is expected to be fastest for weights that are used once, as in training.

    Their transformation counts: it takes as long as it takes to write them. The costs are the
    nominal ones, so that a training gives the same bits on every machine.
    """
    return min(
        _methods(shape),
        key=lambda m: m.milliseconds + (m.weight_bytes / NOMINAL.prepared_bytes if m.tile else 0.0),
    )


def with_tile(shape: Convolution, tile: int) -> Method:
    """The way with transforms of one size; 0 is the direct one.

    Raises:
        InputError: the convolution cannot be computed in such tiles.
    """
    for method in _methods(shape):
        if method.tile == tile:
            return method
    raise InputError(
        f"a convolution with a kernel of {shape.kernel} and {shape.in_channels} channels has no "
        f"transforms of {tile}: choose a tile of {', '.join(map(str, tiles(shape)))}."
    )


def tiles(shape: Convolution) -> list[int]:
    """Every tile that a convolution can be computed in, 0 for the direct way among them."""
    return [method.tile for method in _methods(shape)]


def _methods(
    shape: Convolution, bfloat16: bool = False, costs: Costs = NOMINAL
) -> Iterator[Method]:
    yield _direct(shape, costs)
    for tile in TILES:
        if spectral_kernel(shape) < tile and _padded(shape.in_channels) <= MAX_CHANNELS:
            yield _spectral(shape, tile, bfloat16, costs)


def _direct(shape: Convolution, costs: Costs) -> Method:
    taps = shape.kernel**2
    outputs: float = shape.batch * shape.height * shape.width
    if shape.resample == "up":
        outputs, taps = 4 * outputs, ((shape.kernel + 1) // 2) ** 2
    elif shape.resample == "down":
        outputs = shape.batch * -(-shape.height // 2) * -(-shape.width // 2)
    macs = int(outputs * taps * shape.in_channels * shape.out_channels)
    weights = 4 * shape.kernel**2 * shape.in_channels * shape.out_channels
    # A library's kernel fills its vectors with 16 channels.
    padded = _padded(shape.in_channels) * _padded(shape.out_channels)
    waste = padded / (shape.in_channels * shape.out_channels)
    work = Work(direct_macs=waste * macs)
    return Method(0, 0, False, DIRECT_CALL + costs.milliseconds(work), work, macs, weights, 0)


def spectral_kernel(shape: Convolution) -> int:
    """Side of the kernel that is transformed: the folded one of an up-sampled input."""
    return folded_size(shape.kernel) if shape.resample == "up" else shape.kernel


def _spectral(shape: Convolution, tile: int, bfloat16: bool, costs: Costs) -> Method:
    inputs, outputs = _padded(shape.in_channels), _padded(shape.out_channels)
    if shape.resample == "up":
        outputs = _padded(4 * shape.out_channels)
    side = tile - spectral_kernel(shape) + 1
    tiles = shape.batch * -(-shape.height // side) * -(-shape.width // side)
    pairs = -(-tiles // 2)
    frequencies = tile * tile // 2 + 2
    weights = (4 if bfloat16 else 8) * frequencies * inputs * outputs
    pair_bytes = 16 * frequencies * max(inputs, outputs)
    independent = weights <= SHARED_CACHE_BYTES
    block = CORE_CACHE_BYTES // pair_bytes if independent else weights // pair_bytes
    block = max(1, min(pairs, block))
    if independent:  # as many blocks as cores can share evenly
        block = max(1, min(block, -(-pairs // 8)))
    products = 4 if bfloat16 else 3
    macs = products * frequencies * 2 * pairs * inputs * outputs
    inverse = outputs * (0.6 if shape.resample == "down" else 1.0)
    read = -(-pairs // block) * weights
    work = Work(
        product_macs=0 if bfloat16 else macs,
        rounded_macs=macs if bfloat16 else 0,
        transforms=pairs * (inputs + inverse),
        tile=tile,
        weight_bytes=0 if independent else read,
        shared_weight_bytes=read if independent else 0,
    )
    milliseconds = SPECTRAL_CALL + costs.milliseconds(work)
    scratch = block * pair_bytes
    return Method(tile, block, independent, milliseconds, work, macs, weights, scratch, bfloat16)


def _padded(channels: int) -> int:
    return -(-channels // 16) * 16

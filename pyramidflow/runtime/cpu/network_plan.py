"""Which method computes each convolution of a network, and in which tiles of the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyramidflow.errors import InputError
from pyramidflow.ops.convolution.methods import NOMINAL, Convolution, Costs, Method, methods
from pyramidflow.runtime.cpu.costs import MachineCosts, machine_costs
from pyramidflow.runtime.cpu.tiling import Tiling

WORKSPACE_SHARE = 8
"""A convolution's scratch memory takes at most this fraction of the budget."""

TIE = 1.05
"""Ways that are expected within this factor of the fastest are alike: a measurement says no more.
The nominally fastest of them is taken, so that its noise changes no plan."""


@dataclass(frozen=True)
class Layer:
    """A convolution of the network and how it is computed.

    Attributes:
        name: where it stands, as ``stack 1, up 1 → 0, first``.
        shape: of the convolution.
        method: chosen for it.
    """

    name: str
    shape: Convolution
    method: Method


@dataclass(frozen=True)
class Plan:
    """The convolutions of a network with the method of each.

    Attributes:
        layers: in the order in which they run.
        buffer_bytes: memory for images between the layers.
        memory_budget: bytes that the runtime was given, ``None`` for as many as it wants.
        costs: that the expected times follow from.
        tiling: how images are cut; the rest of the plan is then a tile's.
        passes: how often each tile is computed.
    """

    layers: tuple[Layer, ...]
    buffer_bytes: int
    memory_budget: int | None
    costs: MachineCosts
    tiling: Tiling | None = None
    passes: int = 1

    @property
    def weight_bytes(self) -> int:
        """Memory for weights, in the form in which they are used."""
        return sum(layer.method.weight_bytes for layer in self.layers)

    @property
    def workspace_bytes(self) -> int:
        """Scratch memory; the layers share it."""
        return max((layer.method.workspace_bytes for layer in self.layers), default=0)

    @property
    def milliseconds(self) -> float:
        """Expected of the convolutions on one core, for a whole image."""
        return self._runs * sum(layer.method.milliseconds for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of the convolutions' products, for a whole image."""
        return self._runs * sum(layer.method.multiply_adds for layer in self.layers)

    @property
    def _runs(self) -> int:
        return self.passes * (1 if self.tiling is None else self.tiling.count)

    @property
    def bfloat16(self) -> bool:
        """Whether a layer's products round their operands to it."""
        return any(layer.method.bfloat16 for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        """All memory that the runtime allocates."""
        return self.weight_bytes + self.workspace_bytes + self.buffer_bytes

    def in_tiles(self, tiling: Tiling, passes: int = 1) -> "Plan":
        """The plan of an image whose tiles have this one and are computed some times."""
        return replace(self, tiling=tiling, passes=passes)

    def explain(self) -> str:
        """A table: one line a layer, then the sums."""
        lines = [
            f"{'convolution':30} {'channels':>11} {'at':>11} {'method':>16} "
            f"{'weights MB':>10} {'GMAC':>6} {'expected ms':>11}"
        ]
        for layer in self.layers:
            shape, method = layer.shape, layer.method
            lines.append(
                f"{layer.name:30} {f'{shape.in_channels} → {shape.out_channels}':>11} "
                f"{f'{shape.height}×{shape.width}':>11} {method.name:>16} "
                f"{method.weight_bytes / 1e6:10.1f} {method.multiply_adds / 1e9:6.2f} "
                f"{method.milliseconds:11.2f}"
            )
        if self.tiling is not None:
            twice = f"{self.tiling.computed_twice:.0%} of the image is computed twice"
            if self.passes > 1:
                twice += f", and each tile {self.passes} times: first for the means of the image"
            lines.insert(0, f"{self.tiling}, {twice}. Each tile:")
        tiles = 1 if self.tiling is None else self.tiling.count
        direct = tiles * sum(_direct_macs(layer.shape) for layer in self.layers)
        lines += [
            f"{self.multiply_adds / 1e9:.1f} billion multiply-adds instead of the plain "
            f"convolutions' {direct / 1e9:.1f}; {self.milliseconds:.0f} ms expected on one core of "
            f"{self.costs.origin}.",
            f"{self.total_bytes / 1e6:.0f} MB: weights {self.weight_bytes / 1e6:.0f}, workspace "
            f"{self.workspace_bytes / 1e6:.0f}, images {self.buffer_bytes / 1e6:.0f}"
            + (f"; budget {self.memory_budget / 1e6:.0f} MB." if self.memory_budget else "."),
        ]
        return "\n".join(lines)


def _direct_macs(shape: Convolution) -> int:
    pixels = shape.batch * shape.height * shape.width * (4 if shape.resample == "up" else 1)
    return pixels * shape.kernel**2 * shape.in_channels * shape.out_channels


def make_plan(
    shapes: Sequence[tuple[str, Convolution]],
    buffer_bytes: int,
    memory_budget: int | None = None,
    bfloat16: bool = False,
    costs: MachineCosts | None = None,
) -> Plan:
    """Choose the fastest methods whose memory fits.

    The direct convolution allocates its result, so it is chosen only where no other one can be.
    With a budget, every layer starts with the method of the smallest weights; then, one step at a
    time, the layer changes its method that gains most time for its memory.

    Args:
        shapes: name and shape of each convolution.
        buffer_bytes: memory that is needed beside the convolutions'.
        memory_budget: bytes for all of it; ``None`` takes the fastest methods.
        bfloat16: whether the products round their operands to it.
        costs: of the machine; ``None`` takes those measured here.

    Raises:
        InputError: not even the smallest plan fits.
    """
    costs = costs or machine_costs()
    options = _options(shapes, memory_budget, bfloat16, costs.costs)

    def plan(chosen: Sequence[Method], budget: int | None) -> Plan:
        layers = tuple(
            Layer(name, shape, method) for (name, shape), method in zip(shapes, chosen, strict=True)
        )
        return Plan(layers, buffer_bytes, budget, costs)

    if memory_budget is None:
        chosen = [candidates[0] for candidates in options]
        return plan(chosen, None)
    chosen = [_smallest(candidates) for candidates in options]
    least = plan(chosen, memory_budget).total_bytes
    if least > memory_budget:
        raise InputError(
            f"the memory budget leaves {max(memory_budget, 0):,} bytes for inspecting, but at "
            f"least {least:,} are needed: give more, or inspect at a smaller image size."
        )
    while True:
        best, best_rate = None, 0.0
        for index, candidates in enumerate(options):
            current = chosen[index]
            for method in candidates:
                gain = current.milliseconds - method.milliseconds
                cost = max(method.weight_bytes - current.weight_bytes, 1)
                if gain <= 0 or gain / cost <= best_rate:
                    continue
                trial = [*chosen[:index], method, *chosen[index + 1 :]]
                if plan(trial, None).total_bytes <= memory_budget:
                    best, best_rate = (index, method), gain / cost
        if best is None:
            return plan(chosen, memory_budget)
        chosen[best[0]] = best[1]


def least_bytes(
    shapes: Sequence[tuple[str, Convolution]],
    buffer_bytes: int,
    memory_budget: int,
    bfloat16: bool = False,
) -> int:
    """Memory of the smallest plan; arguments as :func:`make_plan`'s."""
    options = _options(shapes, memory_budget, bfloat16, NOMINAL)
    chosen = [_smallest(candidates) for candidates in options]
    workspace = max((method.workspace_bytes for method in chosen), default=0)
    return buffer_bytes + workspace + sum(method.weight_bytes for method in chosen)


def _smallest(candidates: list[Method]) -> Method:
    return min(candidates, key=lambda method: method.weight_bytes)


def _options(
    shapes: Sequence[tuple[str, Convolution]],
    memory_budget: int | None,
    bfloat16: bool,
    costs: Costs,
) -> list[list[Method]]:
    found = (_without_allocation(shape, bfloat16, costs) for _, shape in shapes)
    return [_limited(candidates, memory_budget) for candidates in found]


def _without_allocation(shape: Convolution, bfloat16: bool, costs: Costs) -> list[Method]:
    """Ways that allocate nothing, the one to take without a budget first."""
    found = methods(shape, bfloat16, costs)
    found = [method for method in found if method.tile] or found
    nominal = [method.tile for method in methods(shape, bfloat16)]
    alike = [m for m in found if m.milliseconds <= TIE * found[0].milliseconds]
    first = min(alike, key=lambda method: nominal.index(method.tile))
    return [first, *(method for method in found if method is not first)]


def _limited(candidates: list[Method], memory_budget: int | None) -> list[Method]:
    if memory_budget is None:
        return candidates
    limit = memory_budget // WORKSPACE_SHARE
    limited = []
    for method in candidates:
        pairs = method.block
        if method.workspace_bytes > limit:
            pairs = max(1, limit * method.block // method.workspace_bytes)
        workspace = method.workspace_bytes * pairs // max(method.block, 1)
        limited.append(replace(method, block=pairs, workspace_bytes=workspace))
    return limited

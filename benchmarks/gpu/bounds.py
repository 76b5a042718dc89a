"""What a GPU has to do for one batch, and how long it takes at least: a model, without a GPU.

``python -m benchmarks.gpu.bounds [--released PATH]`` writes ``benchmarks/results/gpu_bounds.md``
and ``.json``.

The network runs on tensors without values; every operation that reaches the dispatcher is recorded
with the kernels it launches, the bytes it reads and writes, and the products it adds. A launch
takes at least the longer of its bytes over the memory's bandwidth and its operations over the
arithmetic units' peak; the bound is the sum over the launches.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import options as common
from benchmarks.harness import results
from pyramidflow import PyramidFlow
from pyramidflow.model import Contrast
from pyramidflow.ops.allocation import memory_format
from pyramidflow.runtime import TrainedNetwork
from pyramidflow.runtime.cuda.frozen import FrozenNetwork
from pyramidflow.spec import IMAGENET_MEAN, IMAGENET_STD

META = torch.device("meta")
CASES = (("baseline", "lift", 256), ("baseline", "lift", 1024), ("ResNet18", "resnet18", 1024))
"""Name, encoder and image size."""

BATCHES = (1, 8)

WRITE_ONLY = {"aten.copy_", "aten.fill_", "aten.zero_"}
"""In-place operations that do not read what they overwrite."""

NO_KERNEL = {"aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty"}


@dataclass(frozen=True)
class Launch:
    """One kernel.

    Attributes:
        operation: what it belongs to.
        shape: of the result.
        read_and_written: bytes, each tensor once.
        operations: multiplications and additions of matrix products and convolutions.
        dense: whether tensor cores can take the products.
    """

    operation: str
    shape: tuple[int, ...]
    read_and_written: int
    operations: int = 0
    dense: bool = False


@dataclass(frozen=True)
class Device:
    """A GPU's published peaks, without sparsity.

    Attributes:
        name: of the product.
        bandwidth: of its memory, bytes a second.
        half: operations a second on tensor cores, float16 products added in float32.
        tf32: likewise, TF32 products.
        float32: of the other units.
        source: where the vendor publishes them.
    """

    name: str
    bandwidth: float
    half: float
    tf32: float
    float32: float
    source: str


DEVICES = (
    Device(
        "RTX 3060",
        360e9,
        25.5e12,
        12.7e12,
        12.7e12,
        "GeForce RTX 3060 specifications (28 SM, 1.78 GHz, 360 GB/s), times the rates of an SM in "
        "the NVIDIA Ampere GA102 GPU Architecture white paper",
    ),
    Device("A10", 600e9, 125e12, 62.5e12, 31.2e12, "NVIDIA A10 Tensor Core GPU data sheet"),
    Device(
        "L4",
        300e9,
        121e12,
        60e12,
        30.3e12,
        "NVIDIA L4 Tensor Core GPU data sheet (its figures with sparsity, halved)",
    ),
    Device("A100", 2039e9, 312e12, 156e12, 19.5e12, "NVIDIA A100 80GB SXM data sheet"),
    Device(
        "H100",
        3350e9,
        989e12,
        494e12,
        67e12,
        "NVIDIA H100 SXM data sheet (its figures with sparsity, halved)",
    ),
    Device(
        "Jetson AGX Orin",
        204.8e9,
        42.5e12,
        21.2e12,
        5.3e12,
        "NVIDIA Jetson AGX Orin Series technical brief (64 GB; 170 TOPS of sparse int8, of which "
        "dense float16 is a quarter and TF32 an eighth)",
    ),
)


class Recorder(TorchDispatchMode):
    """Records the launches of everything that runs while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[Launch] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        """Run an operation and record it."""
        result = function(*args, **(kwargs or {}))
        name = str(function).rpartition(".")[0]
        if name == "aten.convolution" and is_channels_last(args[0]):
            # Without values PyTorch gives up the order that cuDNN and oneDNN keep.
            result = result.contiguous(memory_format=torch.channels_last)
        if tensors([result]) and name not in NO_KERNEL and not _is_view(function):
            self.launches += launches(name, function, [*args, *(kwargs or {}).values()], result)
        return result


def is_channels_last(x: Tensor) -> bool:
    """Whether a map is dense in channels-last order and in no other."""
    return memory_format(x) == torch.channels_last


def _is_view(function: Any) -> bool:
    aliases = [r.alias_info for r in function._schema.returns]
    return any(a is not None and not a.is_write for a in aliases)


def launches(name: str, function: Any, arguments: Sequence[Any], result: Any) -> list[Launch]:
    """Kernels of one operation, as PyTorch and this package launch them on a GPU."""
    short = name.removeprefix("aten.").removeprefix("pyramidflow.")
    outputs = tensors([result])
    overwrites = name in WRITE_ONLY or function._overloadname == "out"
    read = [
        x
        for x, a in zip(arguments, function._schema.arguments, strict=False)
        if not (overwrites and a.alias_info is not None and a.alias_info.is_write)
    ]
    moved = size_of(tensors(read)) + size_of(outputs)
    shape = tuple(outputs[0].shape)
    if short == "anomaly_map":
        return anomaly_map_launches(arguments[0], arguments[1], outputs[0])
    if short == "convolution":
        x, weight, bias = arguments[:3]
        operations = 2 * outputs[0].numel() * weight[0].numel()
        grouped = arguments[8] > 1
        kind = "depthwise convolution" if grouped else f"convolution {weight.shape[-1]}²"
        without_bias = size_of([x, weight, *outputs])
        found = [Launch(kind, shape, without_bias, operations, not grouped)]
        if bias is not None:
            # cuDNN's convolution has no bias in PyTorch: it is added behind it.
            found.append(Launch("bias", shape, 2 * size_of(outputs) + size_of([bias])))
        return found
    if short == "conv_coupling_conv1x1":
        kernel, channels = arguments[2], shape[1]
        pixels = outputs[0].numel() // channels
        operations = 2 * pixels * (kernel.numel() + channels**2)
        return [Launch(f"{short} {kernel.shape[-1]}²", shape, moved, operations, True)]
    if short == "constant_pad_nd":
        return [Launch("fill", shape, size_of(outputs)), Launch("pad", shape, moved)]
    return [Launch(short, shape, moved)]


def anomaly_map_launches(
    latents: Sequence[Tensor], template: Sequence[Tensor], found: Tensor
) -> list[Launch]:
    """The contrast of each level, then its composition in float32."""
    result = []
    for level in reversed(range(len(latents))):
        z = latents[level]
        shape = (len(z), *z.shape[2:])
        pixels = len(z) * z.shape[2] * z.shape[3]
        contrast = size_of([z, template[level]]) + 4 * pixels
        result.append(Launch("contrast", shape, contrast))
        if level + 1 < len(latents):
            written = found.element_size() if level == 0 else 4
            result.append(Launch("compose", shape, pixels * (1 + 4 + written)))
    return result


def tensors(values: Iterable[Any]) -> list[Tensor]:
    """Tensors in nested sequences."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors(value)
    return found


def size_of(values: Sequence[Tensor]) -> int:
    """Bytes of tensors, what is broadcast counted once."""
    total = 0
    for x in values:
        pairs = zip(x.shape, x.stride(), strict=True)
        elements = 1
        for extent, stride in pairs:
            elements *= extent if stride or extent < 2 else 1
        total += elements * x.element_size()
    return total


def ours(encoder: str, size: int, batch: int, dtype: torch.dtype) -> list[Launch]:
    """Launches of the CUDA runtime for one batch."""
    network = PyramidFlow(encoder=encoder).eval()  # type: ignore[arg-type]
    feature = size if encoder == "lift" else size // 4
    levels, channels = network.architecture.levels, network.architecture.channels
    for block in network.flow.blocks:
        side = feature >> (block.topology.at)
        block.volume_norm.running_mean = torch.zeros(1, 1, side, side)
    sides = [feature >> d for d in range(levels)]
    template = [torch.empty(1, channels, side, side, device=META) for side in sides]
    frozen = FrozenNetwork(
        TrainedNetwork(network, Contrast(template), IMAGENET_MEAN, IMAGENET_STD), META, dtype
    )
    images = torch.empty((batch, size, size, 3), dtype=torch.uint8, device=META)
    with Recorder() as recorder:
        frozen(images).clone()
    return recorder.launches


def released(path: Path, encoder: str, size: int, batch: int) -> list[Launch]:
    """Launches of the released code for one batch, from normalised images to maps."""
    from torchvision import models

    sys.path.insert(0, str(path))
    untrained = models.resnet18(weights=None)
    with mock.patch.object(models, "resnet18", return_value=untrained):
        import model

        network = model.PyramidFlow(18 if encoder == "resnet18" else 0, 16, 4, 4, 7, (0, 1))
    network = network.eval()
    feature = size if encoder == "lift" else size // 4
    for block in network.nf.moduleslst:
        first = type(block).__name__ == "FlowBlock2"
        side = feature >> (block.start_idx + first)
        block.affineParams.norm.running_mean = torch.zeros(1, 1, side, side)
    network.to(META)
    image = torch.empty((batch, 3, size, size), device=META)
    channels = network.channel
    template = [torch.empty(1, channels, feature >> d, feature >> d, device=META) for d in range(4)]
    with torch.no_grad(), Recorder() as recorder:
        contrast = [(z - mean).abs() for z, mean in zip(network(image), template, strict=True)]
        network.pyramid.compose_pyramid(contrast).mean(1)
    return recorder.launches


def bound(found: Sequence[Launch], device: Device, half: bool) -> float:
    """Seconds that the launches take at least."""
    peak = device.half if half else device.tf32
    return sum(
        max(
            launch.read_and_written / device.bandwidth,
            launch.operations / (peak if launch.dense else device.float32),
        )
        for launch in found
    )


def counts(found: Sequence[Launch]) -> tuple[int, float, float]:
    """Kernels, megabytes and billions of operations."""
    moved = sum(launch.read_and_written for launch in found)
    return len(found), moved / 1e6, sum(launch.operations for launch in found) / 1e9


def by_layer(found: Sequence[Launch]) -> list[str]:
    """Equal launches in one row each, in order of their first."""
    groups: dict[Launch, int] = {}
    for launch in found:
        groups[launch] = groups.get(launch, 0) + 1
    lines = ["| kernel | result | times | MB each | GFLOP each |", "|---|---|---:|---:|---:|"]
    for launch, times in groups.items():
        shape = "×".join(str(n) for n in launch.shape)
        operations = f"{launch.operations / 1e9:.2f}" if launch.operations else ""
        moved = f"{launch.read_and_written / 1e6:.2f}"
        lines.append(f"| {launch.operation} | {shape} | {times} | {moved} | {operations} |")
    return lines


METHOD = """\
**Bounds, not measurements: nothing here has run on a GPU.** Kernels, bytes and operations are
counted by running the code on tensors without values (`benchmarks/gpu/bounds.py`). A launch takes
at least the longer of its bytes over the memory's published bandwidth and its operations over the
published peak; the bound is the sum over the launches. It knows no caches (each tensor is read and
written once by each launch), no launch overhead, and no kernel below its peak; real times lie
above it. Operations are those of convolutions and matrix products. The upload of the images is
not counted, nor what happens once: weights, tuning, capture of the graph.

- **half**: the CUDA runtime, float16 in memory, products on tensor cores added in float32.
- **TF32**: the same in float32, products rounded to TF32.
- **released**: the authors' code, float32, plain PyTorch; its dense convolutions at the TF32 peak,
  PyTorch's default, its depthwise filters at the float32 peak. Its script trains and tests with a
  check for NaN after each block, for which the host waits; that is not counted.
"""


def count(path: Path | None) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Counts and bounds of every case and code, and the tables of half precision by layer."""
    cases: dict[str, dict[str, Any]] = {}
    layers: list[str] = []
    for case, encoder, size in CASES:
        for batch in BATCHES:
            half = ours(encoder, size, batch, torch.float16)
            codes = {"half": half, "TF32": ours(encoder, size, batch, torch.float32)}
            if path is not None:
                codes["released"] = released(path, encoder, size, batch)
            name = f"{case}, {size}×{size}, batch {batch}"
            cases[name] = {code: _counted(found, code) for code, found in codes.items()}
            if batch == 1:
                layers += [f"## {name}, half: by layer", "", *by_layer(half), ""]
    return cases, layers


def _counted(found: Sequence[Launch], code: str) -> dict[str, Any]:
    kernels, moved, operations = counts(found)
    least = {d.name: 1e3 * bound(found, d, code == "half") for d in DEVICES}
    return {
        "kernels": kernels,
        "megabytes": moved,
        "gigaflop": operations,
        "least_milliseconds": least,
    }


def tables(cases: dict[str, dict[str, Any]]) -> list[str]:
    """Cases as Markdown tables, and the peaks that they are computed with."""
    heads = ["code", "kernels", "MB", "GFLOP", *(device.name for device in DEVICES)]
    lines = []
    for name, codes in cases.items():
        rows = [
            [
                code,
                str(row["kernels"]),
                f"{row['megabytes']:.0f}",
                f"{row['gigaflop']:.1f}",
                *(f"{least:.2f}" for least in row["least_milliseconds"].values()),
            ]
            for code, row in codes.items()
        ]
        lines += [f"## {name}: least milliseconds", "", *results.table(heads, rows), ""]
    heads = ["GPU", "GB/s", "half TFLOP/s", "TF32 TFLOP/s", "float32 TFLOP/s", "source"]
    peaks = [
        [
            d.name,
            f"{d.bandwidth / 1e9:.0f}",
            *(f"{peak / 1e12:.1f}" for peak in (d.half, d.tf32, d.float32)),
            d.source,
        ]
        for d in DEVICES
    ]
    return [*lines, "## Published peaks", "", *results.table(heads, peaks), ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and write the two files."""
    parser = common.parser("benchmarks.gpu.bounds", __doc__, "gpu_bounds")
    parser.add_argument("--released", type=Path, metavar="PATH", help="checkout to count as well")
    options = common.parse(parser, arguments)
    cases, layers = count(options.released)
    text = [*METHOD.splitlines(), "", *tables(cases), *layers]
    title = "A GPU's work for one batch, and the least time for it"
    results.write(options, title, text, cases)


if __name__ == "__main__":
    main()

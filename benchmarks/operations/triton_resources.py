"""Registers, spills and shared memory of every Triton kernel, compiled without a GPU.

``python -m benchmarks.operations.triton_resources`` writes
``benchmarks/results/triton_resources.md`` and ``.json``. It
calls the operations on tensors without values; a stand-in for Triton's driver names the
architecture, and each launch compiles the kernel that it would have launched, in the configuration
that tuning starts from. Registers and spills are read from the compiled binaries by cuobjdump.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction

from benchmarks.harness import options as common
from benchmarks.harness import results
from pyramidflow.ops import dispatch
from pyramidflow.ops.tf32 import convolutions_with_tf32

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Shape:
    """One level of a network at work.

    Attributes:
        name: which network.
        size: ``[B, C, H, W]``.
        memory_format: order of the dimensions in memory.
    """

    name: str
    size: tuple[int, int, int, int]
    memory_format: torch.memory_format


SHAPES = (
    Shape("baseline, NCHW", (2, 16, 256, 256), torch.contiguous_format),
    Shape("ResNet18, channels-last", (2, 64, 256, 256), torch.channels_last),
)


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes.

    Attributes:
        kernel: its name.
        blocks: its block sizes and number of warps.
        registers: registers of a thread.
        spill_bytes: stack and local memory of a thread, 0 if nothing is spilled.
        shared_bytes: shared memory of a program.
    """

    kernel: str
    blocks: str
    registers: int
    spill_bytes: int
    shared_bytes: int


class CompileOnly:
    """Stand-in for Triton's driver: names an architecture, has no device behind it."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_device(self) -> int:
        """Key of Triton's cache of compiled kernels."""
        return self.architecture

    def get_current_stream(self, device: int) -> int:
        """No stream."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """The architecture to compile for."""
        return GPUTarget("cuda", self.architecture, 32)


@contextmanager
def compiling(architecture: int) -> Iterator[list[tuple[str, Any]]]:
    """Compile kernels where they would be launched; yields their blocks and binaries, in order."""
    compiled: list[tuple[str, Any]] = []
    compile_or_launch = JITFunction.run

    def compile_default(tuner: Any, *args: Any, **kwargs: Any) -> None:
        tuner.nargs = dict(zip(tuner.arg_names, args, strict=False))
        config = tuner.prune_configs(kwargs)[0]
        kernel = compile_or_launch(
            tuner.fn, *args, **{**kwargs, **config.all_kwargs(), "warmup": True}
        )
        fixed = {k: v for k, v in kwargs.items() if k.startswith("BLOCK_")}
        blocks = {**config.kwargs, **fixed}
        text = " ".join(f"{name[6:]}={size}" for name, size in sorted(blocks.items()))
        compiled.append((f"{text} warps={config.num_warps}", kernel))

    with (
        mock.patch.object(triton.runtime.driver, "_active", CompileOnly(architecture)),
        mock.patch.object(Autotuner, "run", compile_default),
    ):
        yield compiled


def measure(blocks: str, kernel: Any) -> Resources:
    """Read a compiled kernel's resources from its binary."""
    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(kernel.asm["cubin"])
        binary.flush()
        command = [tool, "--dump-resource-usage", binary.name]
        usage = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage))
    return Resources(
        kernel.name,
        blocks,
        int(found["REG"]),
        int(found["STACK"]) + int(found["LOCAL"]),
        int(kernel.metadata.shared),
    )


Variant = tuple[str, Any, tuple[Any, ...]]
"""Label, function and arguments of an operation in a mode that compiles another kernel."""


def variants(shape: Shape, dtype: torch.dtype) -> Iterator[Variant]:
    """Every operation in each mode that compiles another kernel."""

    def tensor(*size: int, kind: torch.dtype = dtype) -> Tensor:
        x = torch.empty(size, dtype=kind, device="meta")
        return x.contiguous(memory_format=shape.memory_format) if len(size) == 4 else x

    yield from _network_variants(shape, tensor)
    yield from _convolution_variants(shape, dtype, tensor)
    yield from _edge_variants(shape, dtype, tensor)


def _network_variants(shape: Shape, tensor: Callable[..., Tensor]) -> Iterator[Variant]:
    """Of the pyramid, the couplings and the 1×1 convolution."""
    backend = dispatch.steps("triton")
    batch, channels, height, width = shape.size
    x = tensor(*shape.size)
    half = tensor(batch, channels, height // 2, width // 2)
    index = tensor(*half.shape, kind=torch.uint8)
    params = tensor(batch, 2 * channels, height, width)
    grad_log_det = tensor(batch)
    mean_cvn = tensor(1, 1, height, width)
    weight = tensor(channels, channels)
    own = ("cvn", "sample", 2.0)
    svn = ("svn", "sample", 2.0)
    yield "nearest", backend.pyramid_down, (x, "nearest")
    yield "max", backend.pyramid_down, (x, "max")
    yield "nearest", backend.pyramid_down_backward, (half, index, height, width, "nearest")
    yield "max", backend.pyramid_down_backward, (half, index, height, width, "max")
    yield "", backend.pyramid_merge, (half, x)
    yield "", backend.pyramid_up_backward, (x,)
    yield "own mean", backend.affine_coupling, (x, params, None, *own)
    yield "given mean", backend.affine_coupling, (x, params, mean_cvn, *own)
    yield "resized", backend.affine_coupling, (half, params, mean_cvn, *own)
    yield "inverse, own mean", backend.affine_coupling_inverse, (x, params, None, *own)
    for label, backward in (
        ("", backend.affine_coupling_backward),
        ("inverse, ", backend.affine_coupling_inverse_backward),
    ):
        for mode, arguments in (
            ("own mean", (x, grad_log_det, x, params, mean_cvn, False, *own)),
            ("given mean", (x, grad_log_det, x, params, mean_cvn, True, *own)),
            ("SVN", (x, grad_log_det, x, params, tensor(batch, channels, 1, 1), False, *svn)),
            ("resized", (half, grad_log_det, half, params, mean_cvn, True, *own)),
        ):
            yield label + mode, backward, arguments
    yield "SVN", backend.affine_coupling, (x, params, None, *svn)
    yield "", backend.invertible_conv1x1, (x, weight)
    yield "", backend.invertible_conv1x1_backward, (x, x, weight)
    yield "own mean", backend.coupling_conv1x1, (x, params, None, weight, *own)
    yield "given mean", backend.coupling_conv1x1, (x, params, mean_cvn, weight, *own)


def _convolution_variants(
    shape: Shape, dtype: torch.dtype, tensor: Callable[..., Tensor]
) -> Iterator[Variant]:
    """Of the convolution with its coupling."""
    backend = dispatch.steps("triton")
    batch, channels, height, width = shape.size
    x, half = tensor(*shape.size), tensor(batch, channels, height // 2, width // 2)
    params = tensor(batch, 2 * channels, height, width)
    weight, kernel = tensor(channels, channels), tensor(2 * channels, 2 * channels, 7, 7)
    for label, level, resample in (("7×7", x, "none"), ("7×7, down", half, "down")):
        mean = tensor(1, 1, *level.shape[2:])
        arguments = (level, params, kernel, mean, weight, resample, 2.0)
        for products in ("TF32", "exact") if dtype == torch.float32 else ("",):
            with convolutions_with_tf32(products == "TF32"):
                mode = f"{label} {products}".strip()
                yield mode, backend.conv_coupling_conv1x1, arguments


def _edge_variants(
    shape: Shape, dtype: torch.dtype, tensor: Callable[..., Tensor]
) -> Iterator[Variant]:
    """Of the map behind the network, and of the pixels before it."""
    backend = dispatch.steps("triton")
    batch, channels, height, width = shape.size
    x, template = tensor(*shape.size), tensor(1, channels, height, width)
    shift = tensor(batch, channels, 1, 1, kind=torch.float32)
    yield "", backend.anomaly_map, ([x], [template])
    yield "spread", backend.anomaly_map, ([x], [template], [template], None)
    yield "spread and shift", backend.anomaly_map, ([x], [template], [template], [shift])
    yield "", backend.anomaly_map, ([x], [template], None, None, 1)
    yield "spread and shift", backend.anomaly_map, ([x], [template], [template], [shift], 1)
    yield "", backend.anomaly_map_backward, (x[:, 0], [x], [template])
    statistics = tensor(3)
    for kind in (torch.uint8, torch.uint16):
        image = torch.empty((batch, height, width, 3), dtype=kind, device="meta")
        label = str(kind).removeprefix("torch.")
        yield label, backend.normalize_image, (image, statistics, statistics, dtype)


def resources(
    architecture: int, shape: Shape, dtype: torch.dtype
) -> Iterator[tuple[str, Resources]]:
    """Compile every variant; yields its label and what each of its kernels takes, once each."""
    seen = set()
    for label, function, arguments in variants(shape, dtype):
        with compiling(architecture) as compiled:
            function(*arguments)
        for blocks, kernel in compiled:
            if kernel.hash not in seen:
                seen.add(kernel.hash)
                yield label, measure(blocks, kernel)


METHOD = """\
Registers of a thread / bytes of shared memory, in the configuration that tuning starts from; no
kernel spills a register on any of these architectures, or this file would not have been written.
Nothing here has run on a GPU.
"""

Row = tuple[str, str, str, str]
"""Kernel, mode, type and blocks."""


def measure_shape(shape: Shape) -> tuple[dict[Row, dict[str, str]], list[str]]:
    """What every kernel takes by architecture, and those that spill."""
    rows: dict[Row, dict[str, str]] = {}
    spilled = []
    for dtype in DTYPES:
        for architecture in ARCHITECTURES:
            for label, used in resources(architecture, shape, dtype):
                if used.spill_bytes:
                    spilled.append(f"{used} on sm_{architecture} with {dtype}")
                kind = str(dtype).removeprefix("torch.")
                row = rows.setdefault((used.kernel, label, kind, used.blocks), {})
                row[f"sm_{architecture}"] = f"{used.registers} / {used.shared_bytes}"
            print(shape.name, dtype, f"sm_{architecture}", flush=True)
    return dict(sorted(rows.items())), spilled


def table(rows: dict[Row, dict[str, str]]) -> list[str]:
    """Rows as a Markdown table."""
    names = [f"sm_{architecture}" for architecture in ARCHITECTURES]
    cells = [[*row, *(used.get(name, "") for name in names)] for row, used in rows.items()]
    return results.table(["kernel", "mode", "type", "blocks", *names], cells, texts=4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile for every architecture and type, and write the two files."""
    parser = common.parser("benchmarks.operations.triton_resources", __doc__, "triton_resources")
    options = common.parse(parser, arguments)
    lines = METHOD.splitlines()
    cases: dict[str, Any] = {}
    every_spilled = []
    for shape in SHAPES:
        rows, spilled = measure_shape(shape)
        every_spilled += spilled
        heads = ("kernel", "mode", "type", "blocks")
        cases[shape.name] = [
            dict(zip(heads, row, strict=True)) | {"used": used} for row, used in rows.items()
        ]
        size = " × ".join(str(n) for n in shape.size)
        lines += ["", f"## {shape.name}: {size}", "", *table(rows)]
    if every_spilled:
        raise SystemExit("registers are spilled:\n" + "\n".join(every_spilled))
    title, facts = "Triton kernels, compiled ahead of time", {"triton": triton.__version__}
    results.write(options, title, lines, cases, facts)


if __name__ == "__main__":
    main()

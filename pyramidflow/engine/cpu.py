"""Inspection on a CPU: a frozen network, its plan, and all its buffers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.engine.convolution import FrozenConvolution, Input, Workspace, channels_last
from pyramidflow.engine.encoder import (
    Camera,
    Step,
    encoder_shapes,
    encoder_steps,
    feature_size,
)
from pyramidflow.engine.plan import Layer, Plan, make_plan
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.model.coupling import (
    LEAKY_SLOPE,
    CouplingBlock,
    DualCoupling,
    SingleDownCoupling,
    SingleUpCoupling,
)
from pyramidflow.ops.compiled_cpu import Image, call, has_bfloat16
from pyramidflow.ops.planner import Convolution

ENGINE_RESERVE = 64 << 20
"""Bytes of a memory budget that are left to decoding, the allocator and the rest."""


class CpuEngine:
    """Anomaly maps of camera images by a frozen network, on the compiled CPU kernels.

    Everything that depends on the network or the image size alone is done when the engine is made:
    batch norms are folded, 1×1 matrices built, weights transformed to the frequency domain, buffers
    allocated. A run allocates nothing in the layers that the plan computes spectrally. Each
    coupling block reads its conditions, keeps one hidden image, and changes its level in place.

    Args:
        network: in evaluation mode, on the CPU.
        template: mean latents, levels ``[1, C, h_d, w_d]``, finest first.
        size: batch, height and width of the images in pixels.
        mean: ``[3]``, of images scaled to [0, 1].
        std: ``[3]``, likewise.
        threads: how many to use; ``None`` takes PyTorch's number.
        memory_budget: bytes that the process may have at its peak, everything included; ``None``
            for the fastest plan.
        bfloat16: whether the convolutions' products round their operands to it.

    Raises:
        InputError: the memory budget is too small, or the processor has no products of bfloat16.

    Source: model description, section 12.
    """

    def __init__(
        self,
        network: PyramidFlow,
        template: Sequence[Tensor],
        size: tuple[int, int, int],
        mean: Tensor,
        std: Tensor,
        *,
        threads: int | None = None,
        memory_budget: int | None = None,
        bfloat16: bool = False,
    ) -> None:
        if bfloat16 and not has_bfloat16():
            raise InputError(
                "this processor has no products of bfloat16 (AVX-512 BF16): inspect in float32."
            )
        batch, height, width = size
        self.threads = threads or torch.get_num_threads()
        self.size = size
        self._camera = Camera(size, mean, std)
        with torch.inference_mode(), self._threads():
            self.feature_size = feature_size(network, height, width)
            padded = network.pyramid.padded_size(self.feature_size)
            shapes = encoder_shapes(network, (batch, *self.feature_size))
            encoder_layers = len(shapes)
            shapes += flow_shapes(network, batch, padded)
            self._buffers = _Buffers(network, batch, self.feature_size, padded)
            available = None
            if memory_budget is not None:
                available = memory_budget - resident_bytes() - ENGINE_RESERVE
            self.plan: Plan = make_plan(shapes, self._buffers.bytes(), available, bfloat16)
            self._workspace = Workspace()
            self._steps = encoder_steps(
                network,
                self._camera,
                self.plan.layers[:encoder_layers],
                self._buffers.features,
                self._workspace,
            )
            # No step may hold the engine: a cycle would keep its memory when it is replaced.
            reduction = network.pyramid.reduction
            self._steps.append(("pyramid", partial(_decompose, self._buffers, reduction)))
            self._steps += self._flow_steps(network, self.plan.layers[encoder_layers:])
            means = [z.contiguous(memory_format=torch.channels_last) for z in template]
            contrast = partial(_contrast, self._buffers, network, means)
            self._steps.append(("anomaly map", contrast))

    @torch.inference_mode()
    def anomaly_map(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map.

        Args:
            images: ``[B, H, W, 3]`` of the engine's size, uint8 or uint16.

        Returns:
            ``[B, h, w]``: the engine's own memory, overwritten by the next call.
        """
        with self._threads():
            self._camera.read(images)
            for _, run in self._steps:
                run()
        height, width = self.feature_size
        return self._buffers.maps[0][:, 0, :height, :width]

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """Where the time goes.

        Args:
            images: as for :meth:`anomaly_map`.
            rounds: runs after a first one that does not count.

        Returns:
            Name and median milliseconds of each step, in order.
        """
        self.anomaly_map(images)
        times: list[list[float]] = [[] for _ in self._steps]
        with self._threads():
            for _ in range(rounds):
                for (_, run), found in zip(self._steps, times, strict=True):
                    start = time.perf_counter()
                    run()
                    found.append(1e3 * (time.perf_counter() - start))
        return [(name, median(t)) for (name, _), t in zip(self._steps, times, strict=True)]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _flow_steps(self, network: PyramidFlow, layers: Sequence[Layer]) -> list[Step]:
        steps: list[Step] = []
        blocks = list(network.flow.blocks)
        for index, block in enumerate(blocks):
            assert isinstance(block, CouplingBlock)
            first, second = layers[2 * index : 2 * index + 2]
            level = self._buffers.levels[block.level]
            hidden = self._buffers.hidden(second.shape)
            conv1 = FrozenConvolution(
                first,
                block.affine_params.conv1.weight,
                _conditions(block, self._buffers.levels),
                self._workspace,
            )
            conv2 = FrozenConvolution(
                second, block.affine_params.conv2.weight, [Input(hidden)], self._workspace
            )
            mean = block.volume_norm.running_mean
            if second.shape.resample == "down" and mean.shape[2:] != (1, 1):
                mean = mean[:, :, ::2, ::2]
            steps.append((first.name, _hidden_step(conv1, hidden)))
            matrix = block.conv1x1.weight().detach()
            steps.append((second.name, _coupling_step(conv2, level, mean, matrix)))
        return steps


class _Buffers:
    """Images between the steps, channels-last.

    Attributes:
        features: ``[B, C, h, w]``, the encoder's result.
        padded: ``[B, C, h_0, w_0]``, the same memory where nothing is padded.
        coarse: ``g_1 … g_{L-1}``; the last one is the coarsest level itself.
        levels: ``x_0 … x_{L-1}``, which become ``z_0 … z_{L-1}``.
        indices: of the maxima in the pyramid's cells, where it takes them.
        maps: ``[B, 1, h_d, w_d]``.
    """

    def __init__(
        self, network: PyramidFlow, batch: int, size: tuple[int, int], padded: tuple[int, int]
    ) -> None:
        channels, levels = network.architecture.channels, network.architecture.levels
        sizes = [(padded[0] >> d, padded[1] >> d) for d in range(levels)]
        self.features = channels_last(batch, channels, *size)
        self.padded = self.features if size == padded else channels_last(batch, channels, *padded)
        self.levels = [channels_last(batch, channels, *s) for s in sizes]
        self.coarse = [channels_last(batch, channels, *s) for s in sizes[1:-1]]
        self.coarse.append(self.levels[-1])
        self.indices = [
            torch.empty((batch, channels, *s), dtype=torch.uint8, memory_format=torch.channels_last)
            if network.pyramid.reduction == "max"
            else None
            for s in sizes[1:]
        ]
        self.maps = [torch.empty(batch, 1, *s) for s in sizes]
        self._hidden = torch.empty(batch * 2 * channels * padded[0] * padded[1])

    def hidden(self, shape: Convolution) -> Tensor:
        """Input of a block's second convolution, ``[B, 2C, h, w]``: the blocks share the memory."""
        floats = shape.batch * shape.in_channels * shape.height * shape.width
        pixels = self._hidden[:floats].view(shape.batch, shape.height, shape.width, -1)
        return pixels.permute(0, 3, 1, 2)

    def bytes(self) -> int:
        """All of it."""
        tensors = [self.features, *self.levels, *self.coarse[:-1], *self.maps, self._hidden]
        tensors += [index for index in self.indices if index is not None]
        tensors += [self.padded] if self.padded is not self.features else []
        return sum(x.numel() * x.element_size() for x in tensors)


def _decompose(buffers: _Buffers, reduction: ops.Reduction) -> None:
    height, width = buffers.features.shape[2:]
    fine = buffers.padded
    if fine is not buffers.features:
        fine[:, :, :height, :width] = buffers.features
        fine[:, :, :height, width:] = fine[:, :, :height, width - 1 : width]
        fine[:, :, height:] = fine[:, :, height - 1 : height]
    for coarse, residual, index in zip(
        buffers.coarse, buffers.levels[:-1], buffers.indices, strict=True
    ):
        if reduction == "max":
            call("pyramid_down_max", fine, coarse, index, _image(fine))
        else:
            call("pyramid_down", fine, coarse, _image(fine))
        call("pyramid_residual", fine, coarse, residual, _image(fine))
        fine = coarse


def _contrast(buffers: _Buffers, network: PyramidFlow, template: Sequence[Tensor]) -> None:
    if not network.architecture.pyramid_difference:
        buffers.maps[0][:, 0] = network.contrast(buffers.levels, template)
        return
    for z, mean, level in zip(buffers.levels, template, buffers.maps, strict=True):
        call("anomaly_level", z, mean, level, _image(z), 1)
    for fine, coarse in zip(buffers.maps[-2::-1], buffers.maps[:0:-1], strict=True):
        call("pyramid_merge", coarse, fine, fine, _image(fine))


def _conditions(block: CouplingBlock, levels: Sequence[Tensor]) -> list[Input]:
    if isinstance(block, DualCoupling):
        return [Input(levels[block.level - 1], -1), Input(levels[block.level + 1], 1)]
    if isinstance(block, SingleUpCoupling):
        return [Input(levels[1])]
    return [Input(levels[block.level - 1])]


def _hidden_step(convolution: FrozenConvolution, hidden: Tensor) -> Callable[[], object]:
    return lambda: convolution.run(hidden, LEAKY_SLOPE)


def _coupling_step(
    convolution: FrozenConvolution, level: Tensor, mean: Tensor, matrix: Tensor
) -> Callable[[], object]:
    channels = level.shape[1]
    if mean.shape[2:] == (1, 1):  # [1, C, 1, 1], or one number for all
        pixel_mean, channel_mean = None, mean.expand(1, channels, 1, 1).flatten().contiguous()
    else:  # [1, 1, h, w]
        pixel_mean, channel_mean = mean.contiguous(), torch.zeros(channels)
    return lambda: convolution.couple(level, pixel_mean, channel_mean, matrix)


def _image(x: Tensor) -> Image:
    return Image(*x.shape, not x.is_contiguous())


def flow_shapes(
    network: PyramidFlow, batch: int, size: tuple[int, int]
) -> list[tuple[str, Convolution]]:
    """Name and shape of the two convolutions of each coupling block.

    Args:
        network: with any encoder.
        batch: ``B``.
        size: height and width of the finest level.
    """
    channels, kernel = network.architecture.channels, network.architecture.kernel_size
    shapes = []
    for index, block in enumerate(network.flow.blocks):
        assert isinstance(block, CouplingBlock)
        stack = index // network.architecture.levels + 1
        # Where the parameters are computed: at the level, except before a down block's resizing.
        at = block.level - 1 if isinstance(block, SingleDownCoupling) else block.level
        height, width = size[0] >> at, size[1] >> at
        second = Convolution(batch, 2 * channels, 2 * channels, height, width, kernel)
        if isinstance(block, SingleUpCoupling):
            name = "up 1 → 0"
            first = Convolution(
                batch, channels, 2 * channels, height // 2, width // 2, kernel, "up"
            )
        elif isinstance(block, DualCoupling):
            name = f"dual {block.level - 1}, {block.level + 1} → {block.level}"
            first = second
        else:
            name = f"down {block.level - 1} → {block.level}"
            first = Convolution(batch, channels, 2 * channels, height, width, kernel)
            second = Convolution(batch, 2 * channels, 2 * channels, height, width, kernel, "down")
        shapes.append((f"stack {stack}, {name}, first", first))
        shapes.append((f"stack {stack}, {name}, second", second))
    return shapes


def resident_bytes() -> int:
    """Memory that this process has now; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    import resource

    return int(statistics.read_text().split()[1]) * resource.getpagesize()

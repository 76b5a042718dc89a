"""Inspection on a CPU: a frozen network, its plan, and all its buffers."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from statistics import median

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.interrupt import checkpoint
from pyramidflow.model import PyramidFlow
from pyramidflow.model.coupling import LEAKY_SLOPE, CouplingBlock
from pyramidflow.ops.libraries.cpu import has_bfloat16, image_of
from pyramidflow.ops.pyramid.compiled import pyramid_residual_into
from pyramidflow.ops.pyramid.cpu import pyramid_down_into, pyramid_down_max_into
from pyramidflow.runtime.cpu.buffers import Buffers, PixelBuffer
from pyramidflow.runtime.cpu.convolution import (
    FrozenConvolution,
    Input,
    Shared,
    Spectra,
    Workspace,
    carved,
)
from pyramidflow.runtime.cpu.encoder import (
    Step,
    encoder_shapes,
    encoder_steps,
)
from pyramidflow.runtime.cpu.map_step import map_step
from pyramidflow.runtime.cpu.network_plan import Layer, Plan
from pyramidflow.runtime.cpu.threads import torch_threads, usable_threads
from pyramidflow.runtime.cpu.views import TileOrigin, View, tile_view, whole_view
from pyramidflow.runtime.inspection_settings import Precision
from pyramidflow.runtime.trained_network import TrainedNetwork


class CpuRuntime:
    """Anomaly maps of camera images by a frozen network, on the compiled CPU kernels.

    Everything that depends on the network or the image size alone is done when the runtime is made:
    batch norms are folded, 1×1 matrices built, weights transformed to the frequency domain, buffers
    allocated. A run allocates nothing in the layers that the plan computes spectrally. Each
    coupling block reads its conditions, keeps one hidden image, and changes its level in place.

    Args:
        trained: the network, on the CPU.
        size: batch, height and width of the images in pixels.
        plan: of :func:`pyramidflow.runtime.cpu.plan`.
        threads: how many to use; ``None`` takes PyTorch's number.
        part_of: height and width of the larger images that comparison and running means belong to,
            the images being tiles of them (see :meth:`move_to`); ``None`` where they are whole. Of
            tiles there are maps only where the comparison is local.
        spectra: of the same plan's weights, where another runtime has them already.

    Raises:
        InputError: template or running means are those of another image size, or the processor has
            no products of bfloat16.

    Source: model description, section 12.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int, int],
        plan: Plan,
        threads: int | None = None,
        *,
        part_of: tuple[int, int] | None = None,
        spectra: Spectra | None = None,
    ) -> None:
        if plan.bfloat16 and not has_bfloat16():
            raise InputError(
                "this processor has no products of bfloat16 (AVX-512 BF16): inspect in float32."
            )
        network, comparison = trained.network, trained.comparison
        batch, height, width = size
        self.threads = usable_threads(threads)
        self.size = size
        self.at_once = batch
        self.plan = plan
        self.spectra = Spectra() if spectra is None else spectra
        self.precision: Precision = "bfloat16" if plan.bfloat16 else "float32"
        self._pixels = PixelBuffer(size, torch.tensor(trained.mean), torch.tensor(trained.std))
        self._origin = TileOrigin()
        with torch.inference_mode(), self.using_threads():
            self.feature_size = network.feature_size(height, width)
            whole_size = self.feature_size if part_of is None else network.feature_size(*part_of)
            comparison.check(network.latent_shapes(batch, whole_size))
            _check_means(network, whole_size)
            encoder_layers = len(encoder_shapes(network, (batch, *self.feature_size)))
            self._buffers = Buffers(network, batch, self.feature_size)
            shared = Shared(Workspace(), self.spectra)
            self._steps = encoder_steps(
                network,
                self._pixels,
                self.plan.layers[:encoder_layers],
                self._buffers.encoder_images,
                shared,
            )
            # No step may hold the runtime: a cycle would keep its memory when it is replaced.
            self._steps.append(("pyramid", partial(_decompose, self._buffers)))
            origin = None if part_of is None else self._origin
            layers = self.plan.layers[encoder_layers:]
            self._steps += _flow_steps(network, layers, self._buffers, shared, origin)
            self._map_step = map_step(comparison, self._buffers, origin)
            self._last: list[Step] = []
            if origin is None or comparison.is_local:
                self._last.append(("anomaly map", self._map_step.run))

    def move_to(self, top: int, left: int) -> None:
        """Say where in the larger feature map the next images' own lie.

        Args:
            top: in pixels of the feature map, a multiple of ``2^(L-1)``.
            left: likewise.
        """
        self._origin.top, self._origin.left = top, left

    @property
    def normal_means(self) -> Sequence[Tensor] | None:
        """Means that only somebody who sees all tiles can take off, see :class:`MapStep`."""
        return self._map_step.normal_means

    def take_off(self, shift: Sequence[Tensor]) -> None:
        """Say what the next tile's channels are off in the whole image: levels ``[C]``."""
        self._map_step.take_off(shift)

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map.

        Args:
            images: ``[B, H, W, 3]`` of the runtime's size, uint8 or uint16.

        Returns:
            ``[B, h, w]``: the runtime's own memory, overwritten by the next call.
        """
        with self.using_threads():
            self._pixels.read(images)
            for _, run in (*self._steps, *self._last):
                checkpoint()
                run()
        height, width = self.feature_size
        return self._buffers.maps[0][:, 0, :height, :width]

    @torch.inference_mode()
    def latents(self, images: Tensor) -> Sequence[Tensor]:
        """Everything but the last step.

        Args:
            images: as for :meth:`inspect`.

        Returns:
            Levels ``[B, C, h_d, w_d]``, padded: the runtime's own memory, overwritten by the next
            call.
        """
        with self.using_threads():
            self._pixels.read(images)
            for _, run in self._steps:
                checkpoint()
                run()
        return self._buffers.levels

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """Where the time goes.

        Args:
            images: as for :meth:`inspect`.
            rounds: runs after a first one that does not count.

        Returns:
            Name and median milliseconds of each step, in order.
        """
        self.inspect(images)
        steps = (*self._steps, *self._last)
        times: list[list[float]] = [[] for _ in steps]
        with self.using_threads():
            for _ in range(rounds):
                for (_, run), found in zip(steps, times, strict=True):
                    start = time.perf_counter()
                    run()
                    found.append(1e3 * (time.perf_counter() - start))
        return [(name, median(t)) for (name, _), t in zip(steps, times, strict=True)]

    def using_threads(self) -> AbstractContextManager[None]:
        """As many threads as the runtime's for PyTorch's own operations."""
        return torch_threads(self.threads)


def _flow_steps(
    network: PyramidFlow,
    layers: Sequence[Layer],
    buffers: Buffers,
    shared: Shared,
    origin: TileOrigin | None,
) -> list[Step]:
    steps: list[Step] = []
    # A tile's part of the running means: the blocks share the memory.
    plane = torch.empty(0 if origin is None else buffers.maps[0][0].numel())
    for index, block in enumerate(network.flow):
        first, second = layers[2 * index : 2 * index + 2]
        level = buffers.levels[block.topology.writes]
        hidden = buffers.hidden(second.shape)
        conv1 = FrozenConvolution(
            first,
            block.affine_params.conv1.weight,
            _conditions(block, buffers.levels),
            shared,
        )
        conv2 = FrozenConvolution(second, block.affine_params.conv2.weight, [Input(hidden)], shared)
        steps.append((first.name, _hidden_step(conv1, hidden)))
        pixel_mean: View | None = None
        mean = block.volume_norm.running_mean  # [1, 1, h, w], [1, C, 1, 1] or [1, 1, 1, 1]
        channel_mean = torch.zeros(level.shape[1])
        if mean.shape[2:] == (1, 1):
            channel_mean += mean.flatten()
        else:
            if block.topology.params_resample == "down":
                mean = mean[:, :, ::2, ::2]
            if origin is None:
                pixel_mean = whole_view(mean.contiguous())
            else:
                part = carved(plane, (1, 1, *level.shape[2:]))
                pixel_mean = tile_view(mean, origin, block.topology.writes, part)
        matrix = block.conv1x1.weight().detach()
        steps.append((second.name, _coupling_step(conv2, level, pixel_mean, channel_mean, matrix)))
    return steps


def _decompose(buffers: Buffers) -> None:
    features = buffers.encoder_images[0]
    height, width = features.shape[2:]
    fine = buffers.padded
    if fine is not features:
        fine[:, :, :height, :width] = features
        fine[:, :, :height, width:] = fine[:, :, :height, width - 1 : width]
        fine[:, :, height:] = fine[:, :, height - 1 : height]
    for coarse, residual, index in zip(
        buffers.coarse, buffers.levels[:-1], buffers.indices, strict=True
    ):
        if index is None:
            pyramid_down_into(fine, coarse, image_of(fine))
        else:
            pyramid_down_max_into(fine, coarse, index, image_of(fine))
        pyramid_residual_into("cpu", fine, coarse, residual, image_of(fine))
        fine = coarse


def _conditions(block: CouplingBlock, levels: Sequence[Tensor]) -> list[Input]:
    topology = block.topology
    if topology.condition_resample == "up":  # the convolution's own
        return [Input(levels[level]) for level in topology.reads]
    return [
        Input(levels[level], resize)
        for level, resize in zip(topology.reads, topology.resizes, strict=True)
    ]


def _hidden_step(convolution: FrozenConvolution, hidden: Tensor) -> Callable[[], object]:
    return lambda: convolution.run(hidden, LEAKY_SLOPE)


def _coupling_step(
    convolution: FrozenConvolution,
    level: Tensor,
    pixel_mean: View | None,
    channel_mean: Tensor,
    matrix: Tensor,
) -> Callable[[], object]:
    return lambda: convolution.couple(
        level, None if pixel_mean is None else pixel_mean(), channel_mean, matrix
    )


def _check_means(network: PyramidFlow, features: tuple[int, int]) -> None:
    sizes = [shape[2:] for shape in network.latent_shapes(1, features)]
    for block in network.flow:
        at = block.topology.at
        mean = tuple(block.volume_norm.running_mean.shape[2:])
        if mean not in ((1, 1), sizes[at]):
            raise InputError(
                f"a running mean has size {mean}, but these images need {sizes[at]}: a model with "
                "channel volume normalisation works only at its training's image size."
            )

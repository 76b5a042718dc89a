"""The reversible backward pass: a flow's gradients, its activations computed again from the end.

A block leaves its condition as it is, so the block's input follows from its output: the
affine-parameter network is evaluated once, and serves the inverse as well as the gradient.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pyramidflow.model import PyramidFlow
from pyramidflow.model.coupling import CouplingBlock, Pyramid
from pyramidflow.model.flow import Flow

KEEP_EVERY = 16
"""Stacks between two pyramids that are kept, see :func:`reversible_flow`."""


@dataclass(frozen=True)
class ReversibleNetwork:
    """A network whose gradients come from :func:`reversible_flow`.

    It computes what the network computes, and shares its weights and running means.

    Attributes:
        model: the network.
    """

    model: PyramidFlow

    def __call__(self, image: Tensor) -> Pyramid:
        """See :meth:`pyramidflow.model.PyramidFlow.forward`."""
        return reversible_flow(self.model.flow, self.model.decompose(image))

    def forward_with_log_det(self, image: Tensor) -> tuple[Pyramid, Tensor]:
        """See :meth:`pyramidflow.model.PyramidFlow.forward_with_log_det`."""
        return self.model.forward_with_log_det(
            image, partial(reversible_flow_with_log_det, self.model.flow)
        )


def reversible_flow(flow: Flow, pyramid: Pyramid, keep_every: int = KEEP_EVERY) -> Pyramid:
    """Map a pyramid to its latents, as the flow does, and keep little for the gradients.

    Kept are the latents and the pyramid before every ``keep_every``-th stack; the backward pass
    goes from there to the block's inputs by their inverses. Rounding grows with each inverse, so a
    kept pyramid is also where it starts anew.

    Args:
        flow: the flow; its parameters receive the gradients.
        pyramid: levels ``[B, C, h_d, w_d]``, finest first.
        keep_every: stacks from one kept pyramid to the next.

    Returns:
        Latents, as :meth:`pyramidflow.model.flow.Flow.forward`.

    Source: paper section 3.3 (memory); model description, section 11.
    """
    return tuple(_reversible(flow, pyramid, keep_every, with_log_det=False))


def reversible_flow_with_log_det(
    flow: Flow, pyramid: Pyramid, keep_every: int = KEEP_EVERY
) -> tuple[Pyramid, Tensor]:
    """As :func:`reversible_flow`, with the log-determinant of each sample ``[B]``."""
    *latents, log_det = _reversible(flow, pyramid, keep_every, with_log_det=True)
    return tuple(latents), log_det


def _reversible(
    flow: Flow, pyramid: Pyramid, keep_every: int, with_log_det: bool
) -> tuple[Tensor, ...]:
    # A pyramid of L levels has L blocks in a stack.
    spacing = keep_every * len(pyramid)
    parameters = [p for block in flow for p in _trained(block)]
    results: tuple[Tensor, ...] = _ReversibleFlow.apply(
        flow, with_log_det, spacing, len(pyramid), *pyramid, *parameters
    )
    return results


class _ReversibleFlow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, flow: Flow, with_log_det: bool, spacing: int, levels: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        pyramid, parameters = tensors[:levels], tensors[levels:]
        # In training there is none to keep: the parameters give it again.
        means = [block.volume_norm.mean() for block in flow]
        kept: list[Tensor] = []
        # What stays is allocated before what comes and goes: in between, it would leave holes in
        # the memory that nothing fits.
        sizes = _sign_bytes(flow, pyramid)
        signs = pyramid[0].new_empty(sum(sizes), dtype=torch.uint8)
        pieces = torch.split(signs, sizes)
        total: Tensor | None = None
        for index, (block, piece) in enumerate(zip(flow, pieces, strict=True)):
            if index > 0 and index % spacing == 0:
                kept += pyramid
            with _recorded(block, piece):
                if with_log_det:
                    pyramid, log_det = block.forward_with_log_det(pyramid)
                    total = log_det if total is None else total + log_det
                else:
                    pyramid = block(pyramid)
        ctx.flow, ctx.spacing, ctx.levels = flow, spacing, levels
        ctx.has_mean = [mean is not None for mean in means]
        given = [mean for mean in means if mean is not None]
        ctx.sections = (levels, len(given), 1, len(kept), len(parameters))
        # The parameters too: a change of theirs before the backward pass must be noticed.
        ctx.save_for_backward(*pyramid, *given, signs, *kept, *parameters)
        ctx.set_materialize_grads(False)
        return pyramid if total is None else (*pyramid, total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        latents, means, (signs,), kept, parameters = (
            [next(saved) for _ in range(n)] for n in ctx.sections
        )
        blocks = list(ctx.flow)
        needed = _needed(blocks, ctx.needs_input_grad[4 : 4 + ctx.levels])
        grad_log_det = next(iter(grad_outputs[ctx.levels :]), None)
        walk = _Walk(latents, list(grad_outputs[: ctx.levels]), grad_log_det)
        of_parameters: list[Tensor | None] = [torch.empty_like(p) for p in parameters]
        pieces = torch.split(signs, _sign_bytes(ctx.flow, latents))
        end = len(parameters)
        for index in reversed(range(len(blocks))):
            mean = means.pop() if ctx.has_mean[index] else None
            with _replayed(blocks[index], pieces[index]):
                found = walk.back_through(blocks[index], mean, needed[index])
            start = end - len(found)
            of_parameters[start:end] = map(_copied, found, of_parameters[start:end])
            end = start
            if index > 0 and index % ctx.spacing == 0:
                walk.pyramid, kept = kept[-ctx.levels :], kept[: -ctx.levels]
        return (None, None, None, None, *walk.gradients, *of_parameters)


@dataclass
class _Walk:
    """Where the backward pass stands: a pyramid, and the gradients of its levels."""

    pyramid: list[Tensor]
    gradients: list[Tensor | None]
    grad_log_det: Tensor | None

    def back_through(
        self, block: CouplingBlock, mean: Tensor | None, needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """Go from a block's output to its input; returns the gradients of its parameters."""
        level, parameters = block.topology.writes, _trained(block)
        sources = [
            x.detach().requires_grad_(need) for x, need in zip(self.pyramid, needed, strict=True)
        ]
        with torch.enable_grad():
            params, mean = block.volume_norm.shared(block.params(sources), mean)
        x, _ = block.uncouple(self.pyramid[level], params.detach(), mean, with_log_det=False)
        self.pyramid[level] = x
        sources[level] = x.detach().requires_grad_(needed[level])
        with torch.enable_grad():
            with_log_det = self.grad_log_det is not None
            z, _, log_det = block.couple(sources[level], params, mean, with_log_det)
            if with_log_det:
                log_det = log_det + block.conv1x1.log_det(z)
        results = [(z, self.gradients[level]), (log_det, self.grad_log_det)]
        results = [(r, g) for r, g in results if g is not None and r.requires_grad]
        if not results:
            return [None] * len(parameters)
        outputs, grad_outputs = zip(*results, strict=True)
        inputs = [x for x in sources if x.requires_grad] + parameters
        found = iter(torch.autograd.grad(outputs, inputs, grad_outputs, allow_unused=True))
        self.gradients[level] = None
        for index, source in enumerate(sources):
            gradient = next(found) if source.requires_grad else None
            if gradient is not None:
                before = self.gradients[index]
                self.gradients[index] = gradient if before is None else before + gradient
        return list(found)


def _copied(gradient: Tensor | None, memory: Tensor | None) -> Tensor | None:
    return None if gradient is None or memory is None else memory.copy_(gradient)


def _sign_bytes(flow: Flow, pyramid: Sequence[Tensor]) -> list[int]:
    """Bytes of each block's signs."""
    found = []
    for block in flow:
        level = pyramid[block.topology.at]
        hidden = block.affine_params.conv1.out_channels * level[:, 0].numel()
        found.append(-(-hidden // 8))
    return found


@contextmanager
def _recorded(block: CouplingBlock, signs: Tensor) -> Iterator[None]:
    """Keep one bit for each hidden value: on which side of the activation's bend it lies."""

    def record(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        signs.copy_(pack_signs(inputs[0]))

    handle = block.affine_params.activation.register_forward_hook(record)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replayed(block: CouplingBlock, signs: Tensor) -> Iterator[None]:
    """Bring a value back to the recorded side of the bend, where rounding has moved it over."""

    def replay(module: nn.Module, inputs: tuple[Tensor]) -> Tensor | None:
        (hidden,) = inputs
        if torch.equal(pack_signs(hidden), signs):
            return None
        positive = unpack_signs(signs, hidden.shape)
        with torch.no_grad():
            moved = positive != (hidden > 0)
            values = hidden[moved]
            mirrored = torch.where(values == 0, torch.finfo(hidden.dtype).tiny, -2 * values)
            change = torch.zeros_like(hidden)
            change[moved] = mirrored.to(hidden.dtype)
        return hidden + change

    handle = block.affine_params.activation.register_forward_pre_hook(replay)
    try:
        yield
    finally:
        handle.remove()


def pack_signs(x: Tensor) -> Tensor:
    """Whether each element is positive, eight to a byte.

    Args:
        x: ``[B, C, h, w]``, channels-last for speed.

    Returns:
        ``[⌈n / 8⌉]``, uint8.
    """
    flat = (x > 0).permute(0, 2, 3, 1).reshape(-1).view(torch.uint8)  # [B h w C]
    # Bit i of all bytes lies in one piece of the elements: eight passes over whole memory.
    rows = functional.pad(flat, (0, -len(flat) % 8)).view(8, -(-len(flat) // 8))
    packed = rows[0].clone()
    for bit in range(1, 8):
        packed |= rows[bit] << bit
    return packed


def unpack_signs(packed: Tensor, shape: Sequence[int]) -> Tensor:
    """Undo :func:`pack_signs`: ``[B, C, h, w]``, bool, channels-last.

    Args:
        packed: its result.
        shape: of its argument.
    """
    batch, channels, height, width = shape
    rows = packed.new_empty((8, len(packed)))
    for bit in range(8):
        torch.bitwise_and(packed >> bit, 1, out=rows[bit])
    flat = rows.view(-1)[: batch * channels * height * width].view(torch.bool)
    return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _needed(blocks: Sequence[CouplingBlock], given: Sequence[bool]) -> list[tuple[bool, ...]]:
    """For each block the levels of its input that depend on something with a gradient."""
    found, current = [], list(given)
    for block in blocks:
        found.append(tuple(current))
        current[block.topology.writes] = True
    return found


def _trained(block: nn.Module) -> list[Tensor]:
    return [p for p in block.parameters() if p.requires_grad]

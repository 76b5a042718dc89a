"""One network over a batch whose images are shared by several processes."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.training.loss import Network
from pyramidflow.training.parallel import Parallel


@dataclass(frozen=True)
class JoinedNetwork:
    """A network that gives the latents of all processes' images.

    A loss of them is the same in every process. Its gradient reaches the images of this process
    alone, so the sum of the parameters' gradients over the processes is that of the whole batch.

    Attributes:
        network: that maps the images of this process.
        parallel: the processes.
    """

    network: Network
    parallel: Parallel

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Latents of the images of all processes, from those of this one."""
        return self._joined(self.network(image))

    def forward_with_log_det(self, image: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Latents and log-determinants likewise."""
        latents, log_det = self.network.forward_with_log_det(image)
        *joined, log_dets = self._joined((*latents, log_det))
        return tuple(joined), log_dets

    def _joined(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        widths = [math.prod(part.shape[1:]) for part in parts]
        flat = [part.reshape(len(part), width) for part, width in zip(parts, widths, strict=True)]
        rows = self.parallel.gathered(torch.cat(flat, 1))  # [B, Σ width], of all processes
        return tuple(
            piece.reshape(len(rows), *part.shape[1:])
            for piece, part in zip(torch.split(rows, widths, 1), parts, strict=True)
        )


@contextmanager
def shared_statistics(model: PyramidFlow, parallel: Parallel) -> Iterator[None]:
    """Have a network take the statistics of batches over all processes, while the context is open.

    Args:
        model: the network; statistics of samples stay as they are.
        parallel: the processes.
    """
    norms = [block.volume_norm for block in model.flow]
    for norm in norms:
        norm.add = parallel.add if parallel.world > 1 else None
    try:
        yield
    finally:
        for norm in norms:
            norm.add = None


def start_alike(model: PyramidFlow, identity: Mapping[str, Any], parallel: Parallel) -> None:
    """Refuse processes that train something else, and give all of them the weights of process 0.

    Args:
        model: the network.
        identity: what the result depends on, of this process.
        parallel: the processes.

    Raises:
        InputError: a process has other images or settings, or stands somewhere else.
    """
    text = json.dumps(identity, sort_keys=True, default=str)
    first, *others = parallel.texts(hashlib.sha256(text.encode()).hexdigest())
    for rank, other in enumerate(others, 1):
        if other != first:
            raise InputError(
                f"process {rank} of this training has other images, settings or another checkpoint "
                "than process 0: start all of them by the same command, on the same files."
            )
    parallel.copy_first([*model.parameters(), *model.buffers()])


def join_step(model: PyramidFlow, images: int, parallel: Parallel) -> None:
    """Bring a step's results together behind its backward pass.

    Gradients are summed, see :class:`JoinedNetwork`. Running means are averaged over the images: a
    process without images has no part in them.

    Args:
        model: the network.
        images: of this process in the step.
        parallel: the processes.
    """
    norms = [block.volume_norm for block in model.flow]
    means = [norm.running_mean * images for norm in norms]
    count = torch.full((1,), images, dtype=means[0].dtype, device=means[0].device)
    parallel.add([*(p.grad for p in model.parameters() if p.grad is not None), *means, count])
    for norm, mean in zip(norms, means, strict=True):
        norm.running_mean = mean / count

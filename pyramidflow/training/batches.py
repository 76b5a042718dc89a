"""The images of a training in the order of its steps, prepared by workers."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pyramidflow.data import ImageSet, Pixels, augment_texture, batch_of
from pyramidflow.errors import InputError
from pyramidflow.machine import usable_processors
from pyramidflow.spec import Preprocessing
from pyramidflow.training.parallel import OneProcess, Parallel, share

MOST_WORKERS: Final = 4
"""Where nobody says how many: more decode faster than a step trains."""

Draw = tuple[int, int]
"""Epoch and number of an image: all that a random choice about it depends on, with the seed."""


class DrawnImages(Dataset[Pixels | InputError]):
    """Images as an epoch sees them: augmented where the recipe asks for it.

    An image that cannot be read is given as its error: raised in a worker, it would come with the
    worker's traceback as its text.

    Args:
        images: to draw from.
        augment: see :class:`pyramidflow.spec.Recipe`.
        seed: of the augmentation.
    """

    def __init__(self, images: ImageSet, augment: str = "none", seed: int = 0) -> None:
        self.images = images
        self.augment = augment
        self.seed = seed

    def __getitem__(self, draw: Draw) -> Pixels | InputError:
        """Pixels ``[H, W, 3]``, uint8 or uint16."""
        epoch, index = draw
        try:
            pixels = self.images[index]
        except InputError as error:
            return error
        if self.augment == "texture":
            return augment_texture(pixels, np.random.default_rng((self.seed, epoch, index)))
        return pixels


class EpochSampler(Sampler[list[Draw]]):
    """Batches of an epoch: a function of seed and epoch, and of nothing else.

    A last batch of one image is left out where a step takes more: pairs are contrasted. Of several
    processes each has its share of every batch, which may be empty.

    Args:
        count: of the images.
        batch_size: images in a step, over all processes.
        seed: of the order; ``None`` is that of the numbers.
        parallel: the processes.
        least: images of a last batch that is taken.

    Attributes:
        epoch: that comes next.
        start: its first step.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None,
        parallel: Parallel | None = None,
        least: int = 2,
    ) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.parallel = parallel or OneProcess()
        self.least = min(least, batch_size)
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest >= self.least)

    def __iter__(self) -> Iterator[list[Draw]]:
        """The batches from the first step on."""
        order: Sequence[int] = range(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count).tolist()
        for step in range(self.start, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield [(self.epoch, index) for index in share(batch, self.parallel)]


class Batches:
    """Batches of images, prepared by worker processes or, with none, when they are asked for.

    Args:
        drawn: the images.
        sampler: their order.
        preprocessing: with the brightness that images are brought to.
        workers: processes that prepare batches; ``None`` takes :func:`fitting_workers`.
    """

    def __init__(
        self,
        drawn: DrawnImages,
        sampler: EpochSampler,
        preprocessing: Preprocessing,
        workers: int | None = None,
    ) -> None:
        self.sampler = sampler
        count = fitting_workers(drawn.images) if workers is None else workers
        self._loader: DataLoader[Any] = DataLoader(
            drawn,
            batch_sampler=sampler,
            num_workers=count,
            collate_fn=partial(_collated, preprocessing=preprocessing),
            # Of its own: drawn from the global one, it would move what the checkpoint keeps.
            generator=torch.Generator(),
            worker_init_fn=_leave_stops_to_the_training if count else None,
            multiprocessing_context=_context() if count else None,
        )

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return len(self.sampler)

    def of_epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Tensor]:
        """The batches of an epoch from a step on.

        Args:
            epoch: its number, from 0 on.
            start: its first step that is wanted.

        Yields:
            ``[B, H, W, 3]``, uint8 or uint16; ``B`` is 0 where the process has no share.

        Raises:
            InputError: an image cannot be read.
        """
        self.sampler.epoch, self.sampler.start = epoch, start
        for batch in self._loader:
            if isinstance(batch, InputError):
                raise batch
            yield batch


def fitting_workers(images: ImageSet) -> int:
    """Workers where nobody says how many: none where all images are kept in memory."""
    return 0 if images.is_kept else min(MOST_WORKERS, usable_processors())


def _collated(batch: Sequence[Pixels | InputError], preprocessing: Preprocessing) -> Any:
    for image in batch:
        if isinstance(image, InputError):
            return image
    if not batch:
        return torch.empty(0, *preprocessing.size, 3, dtype=torch.uint8)
    return batch_of([image for image in batch if not isinstance(image, InputError)], preprocessing)


def _leave_stops_to_the_training(worker: int) -> None:
    # Ctrl-C and a service's end reach the whole group: the training still finishes its step. With
    # another exit code a worker would be an error in the midst of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _context() -> str | None:
    # Forked, workers share the images that are kept; started anew, each would hold its own.
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None

"""A network recorded for a few batch sizes, and any number of images computed from these.

What records is not said here: on a GPU it is a CUDA graph, in the tests anything that repeats a
call. So the splitting, the static memory and the results are proven without a GPU.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from pyramidflow.errors import InputError

PIXEL_TYPES = (torch.uint8, torch.uint16)


@dataclass(frozen=True)
class Recording:
    """A call that can be repeated on whatever is in its arguments' memory by then.

    Attributes:
        replay: repeats it.
        result: where each repetition leaves its result.
    """

    replay: Callable[[], object]
    result: Tensor


class Recorder(Protocol):
    """What a device can do with a network."""

    def turn(self) -> AbstractContextManager[None]:
        """While open, the memory is the caller's: what others do with it comes before or after."""
        ...

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory on the device, whose address stays; its content counts for nothing."""
        ...

    def record(self, run: Callable[[], Tensor]) -> Recording:
        """Record a call that reads and writes memory on the device only."""
        ...

    def upload(self, images: Tensor, target: Tensor) -> None:
        """Copy images from anywhere into memory on the device."""
        ...


def in_parts(count: int, sizes: Sequence[int]) -> Iterator[int]:
    """Sizes, the largest first, that add up to a number of images: none is computed in vain.

    Args:
        count: of the images.
        sizes: to choose from, falling to 1.
    """
    for size in sizes:
        parts, count = divmod(count, size)
        yield from [size] * parts


class ReplayedNetwork:
    """Anomaly maps of any number of images of one size, from recordings of a few batch sizes.

    All recordings for one type of pixels read the same memory, one after the other. A recording may
    leave its result where another one computes: results are copied before the next replay. Threads
    take turns.

    Args:
        network: ``[B, H, W, 3]`` pixels to maps ``[B, h, w]``, float32.
        size: height and width of the images in pixels.
        batch_sizes: to record, falling to 1.
        recorder: of the device.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        size: tuple[int, int],
        batch_sizes: Sequence[int],
        recorder: Recorder,
    ) -> None:
        self._size = size
        self._batch_sizes = batch_sizes
        self._recorder = recorder
        self._images: dict[torch.dtype, Tensor] = {}
        self._recordings: dict[tuple[torch.dtype, int], Recording] = {}
        self._lock = Lock()
        with recorder.turn():
            for pixel_type in PIXEL_TYPES:
                images = recorder.memory((batch_sizes[0], *size, 3), pixel_type).zero_()
                self._images[pixel_type] = images
                for batch in batch_sizes:  # the largest first: the others fit into what it took
                    run = partial(network, images[:batch])
                    self._recordings[pixel_type, batch] = recorder.record(run)

    def __call__(self, images: Tensor) -> Tensor:
        """Anomaly maps in new memory.

        Args:
            images: ``[B, H, W, 3]``, uint8 or uint16, on any device.

        Returns:
            ``[B, h, w]``, float32, on the recorder's device.

        Raises:
            InputError: the images have another type or size.
        """
        if images.dtype not in PIXEL_TYPES or list(images.shape[1:]) != [*self._size, 3]:
            raise InputError(
                f"the images have shape {list(images.shape)} and type {images.dtype}: this runtime "
                f"takes [B, {self._size[0]}, {self._size[1]}, 3], uint8 or uint16."
            )
        target = self._images[images.dtype]
        map_size = self._recordings[images.dtype, 1].result.shape[1:]
        with self._lock, self._recorder.turn():
            maps = self._recorder.memory((len(images), *map_size), torch.float32)
            start = 0
            for batch in in_parts(len(images), self._batch_sizes):
                recording, stop = self._recordings[images.dtype, batch], start + batch
                self._recorder.upload(images[start:stop], target[:batch])
                recording.replay()
                maps[start:stop].copy_(recording.result)
                start = stop
        return maps

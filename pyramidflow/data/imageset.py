"""Images by number: decoded, resized, and kept in memory as far as a budget allows."""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pyramidflow.data.decoding import DEFAULT_DECODING, Decoding
from pyramidflow.data.images import read_image
from pyramidflow.data.transforms import resize_image
from pyramidflow.errors import InputError
from pyramidflow.machine import usable_processors

CACHE_BYTES = 2 * 2**30
"""Default of the memory for the kept images of a set."""

_FULL_SCALES = (1023, 4095, 16383)
_MOST_THREADS = 4  # each holds a decoded image
_Result = TypeVar("_Result")


class ImageSet:
    """A list of image files, all seen at one size.

    Images are decoded when first asked for, or all at once by :meth:`check`. The resized pixels are
    kept until ``cache_bytes`` are in use; images that do not fit are decoded again each time. Not
    for use by several threads.

    Args:
        paths: the files, in the order of their numbers.
        size: height and width in pixels, or one number for both.
        cache_bytes: how much memory the kept images may take, in bytes.
        decoding: how the files are read.

    Raises:
        InputError: on access, if a file cannot be decoded.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int | tuple[int, int],
        cache_bytes: int = CACHE_BYTES,
        decoding: Decoding = DEFAULT_DECODING,
    ) -> None:
        self.paths = tuple(paths)
        self.size = size
        self.decoding = decoding
        self._free_bytes = cache_bytes
        self._kept: dict[Path, npt.NDArray[Any]] = {}
        self._brightest: int | None = None
        self._digests: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Return image ``index``: ``[height, width, 3]``, ``uint8`` or ``uint16``, read-only.

        Raises:
            IndexError: no such number.
            InputError: the file cannot be decoded.
        """
        path = self.paths[index]
        kept = self._kept.get(path)
        return self._keep(path, *self._read(path)) if kept is None else kept

    def in_turn(
        self, batches: Iterable[Sequence[int]]
    ) -> Generator[list[npt.NDArray[Any]], None, None]:
        """The images of each batch, the next ones being decoded meanwhile.

        What is kept in memory is not read; the rest is decoded by a few threads, at most twice as
        many images as threads ahead. The images are those that indexing gives, in the same order.

        Args:
            batches: numbers of images.

        Raises:
            IndexError: no such number.
            InputError: a file cannot be decoded; where its batch is asked for.
        """
        wanted = [[self.paths[index] for index in batch] for batch in batches]
        missing = [path for batch in wanted for path in batch if path not in self._kept]
        is_read = dict.fromkeys(missing)
        with contextlib.closing(_in_threads(self._read, missing)) as decoded:
            for batch in wanted:
                yield [
                    self._decoded(path, next(decoded)[1]) if path in is_read else self._kept[path]
                    for path in batch
                ]

    def _decoded(
        self, path: Path, result: "tuple[npt.NDArray[Any], int | None, str] | InputError"
    ) -> npt.NDArray[Any]:
        if isinstance(result, InputError):
            raise result
        return self._keep(path, *result)

    def check(self, on_image: Callable[[], object] = lambda: None) -> list[tuple[Path, InputError]]:
        """Decode every file once, several at a time, and keep what fits.

        Nothing less finds a file that was cut: what the check costs, training saves, as far as the
        images fit into ``cache_bytes``.

        Args:
            on_image: called after each image.

        Returns:
            The files that cannot be decoded and why, in the order of their numbers.
        """
        bad: list[tuple[Path, InputError]] = []
        missing = [path for path in dict.fromkeys(self.paths) if path not in self._kept]
        for path, result in _in_threads(self._read, missing):
            if isinstance(result, InputError):
                bad.append((path, result))
            else:
                self._keep(path, *result)
            on_image()
        return bad

    @property
    def is_kept(self) -> bool:
        """Whether every image is in memory, so that none is decoded again."""
        return all(path in self._kept for path in self.paths)

    @property
    def contents(self) -> tuple[str, ...]:
        """:func:`content_digest` of each image, in order; they were read before."""
        return tuple(self._digests[path] for path in self.paths)

    @property
    def treatment(self) -> str:
        """What is done to the resized pixels, where anything is: a digest."""
        return ""

    def seen(self, index: int, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
        """Which pixels of a map of image ``index`` say something about it; ``None`` for all.

        Args:
            index: of the image.
            size: height and width of the map.
        """
        return None

    def looks_dark(self) -> str | None:
        """Say that the images decoded so far look as if their white level was lower than 65535.

        Returns:
            One sentence, where there are 16-bit images, none of them passes the full scale of 10,
            12 or 14 bits, and no white level was given; else None.
        """
        if self._brightest is None or self.decoding.white_level is not None:
            return None
        for white in _FULL_SCALES:
            if self._brightest <= white:
                return (
                    f"no training image passes {white} of 65535: if the camera has "
                    f"{white.bit_length()} bits, give --white-level {white} (in Python "
                    f"white_level={white})."
                )
        return None

    def _read(self, path: Path) -> tuple[npt.NDArray[Any], int | None, str]:
        """Return the image, the largest value of one with 16 bits, and the digest as it lies."""
        pixels = read_image(path, self.decoding)
        brightest = int(pixels.max()) if pixels.dtype == np.uint16 else None
        resized = resize_image(pixels, self.size)
        return self._prepared(path, resized), brightest, content_digest(resized)

    def _prepared(self, path: Path, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return pixels

    def _keep(
        self, path: Path, image: npt.NDArray[Any], brightest: int | None, digest: str
    ) -> npt.NDArray[Any]:
        self._digests[path] = digest
        if brightest is not None:
            self._brightest = max(brightest, self._brightest or 0)
        # A caller who wrote into a kept image would change it for everybody after.
        image.setflags(write=False)
        if image.nbytes <= self._free_bytes:
            self._free_bytes -= image.nbytes
            self._kept[path] = image
        return image


def content_digest(pixels: npt.NDArray[Any]) -> str:
    """What tells one image from another, whatever its file is called: 16 hexadecimal digits.

    Args:
        pixels: ``[H, W, 3]``, uint8 or uint16.
    """
    found = hashlib.blake2b(f"{pixels.dtype} {pixels.shape}".encode(), digest_size=8)
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()


def check_readable(
    paths: Iterable[Path], decoding: Decoding = DEFAULT_DECODING
) -> list[tuple[Path, InputError]]:
    """Decode files, several at a time, to find those that cannot be.

    A header and an end do not tell that the middle is whole, so every file is decoded: some 3 ms of
    a processor for a megapixel of JPEG, and 20 ms of PNG. Before training, :meth:`ImageSet.check`
    does the same and keeps the images.

    Args:
        paths: the files.
        decoding: how they would be read.

    Returns:
        The files that cannot be decoded and why, in the order given.
    """

    def decode(path: Path) -> None:
        read_image(path, decoding)

    results = _in_threads(decode, paths)
    return [(path, result) for path, result in results if isinstance(result, InputError)]


def stack(images: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
    """Stack images into one batch.

    If any image has 16 bits, the 8-bit ones are multiplied by 257, so that 255 becomes 65535.

    Args:
        images: at least one, all ``[H, W, 3]`` of one size, ``uint8`` or ``uint16``.

    Returns:
        ``[B, H, W, 3]``, ``uint8`` or ``uint16``, in memory of its own.

    Raises:
        InputError: no image, or different sizes.
    """
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        given = " and ".join(str(list(shape)) for shape in shapes) or "none"
        raise InputError(
            f"images of shapes {given} were given: one shape is expected; resize them first."
        )
    if any(image.dtype == np.uint16 for image in images):
        images = [_to_uint16(image) for image in images]
    return torch.from_numpy(np.stack(images))  # [B, H, W, 3]


def _in_threads(
    work: Callable[[Path], _Result], paths: Iterable[Path]
) -> Generator[tuple[Path, _Result | InputError], None, None]:
    def attempt(path: Path) -> _Result | InputError:
        try:
            return work(path)
        except InputError as error:
            return error

    threads = min(_MOST_THREADS, usable_processors())
    pool = ThreadPoolExecutor(threads)
    try:
        remaining = iter(paths)
        # Only a few images wait decoded: submitted all at once, they would fill the memory.
        running = [(path, pool.submit(attempt, path)) for path in _take(remaining, 2 * threads)]
        while running:
            path, future = running.pop(0)
            yield path, future.result()
            running += [(new, pool.submit(attempt, new)) for new in _take(remaining, 1)]
    finally:
        pool.shutdown(cancel_futures=True)


def _take(paths: Iterator[Path], count: int) -> list[Path]:
    return list(itertools.islice(paths, count))


def _to_uint16(image: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    if image.dtype == np.uint16:
        return image
    promoted: npt.NDArray[np.uint16] = np.multiply(image, 257, dtype=np.uint16)
    return promoted

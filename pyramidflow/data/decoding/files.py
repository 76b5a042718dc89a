"""From a file to a decoded image: opened safely, recognised by content, refused with a reason."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from pyramidflow.data.decoding.common import HEAD_BYTES, Decoded, Family, RefusedError
from pyramidflow.discovery import offered
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

FAMILIES: tuple[Family, ...] = tuple(
    sorted(offered("pyramidflow.data.decoding.formats", Family), key=lambda family: family.order)
)
"""All families, in the order in which they are asked: those in ``formats``."""

IMAGE_SUFFIXES = tuple(suffix for family in FAMILIES for suffix in family.suffixes)

_NAMES = ", ".join(family.name for family in FAMILIES[:-1]) + f" or {FAMILIES[-1].name}"


def decode_file(path: Path, max_pixels: int) -> Decoded:
    """Decode one image file.

    Args:
        path: the file; its format is recognised by content, not by suffix.
        max_pixels: compared with the size in the header before anything is decoded.

    Raises:
        InputError: the file cannot be opened or is no regular file, is empty, no image, damaged,
            too large, or holds several pages.
    """
    with naming(printable(path)), _open(path) as file:
        return _decode(file, max_pixels)


def decode_bytes(data: bytes, name: str, max_pixels: int) -> Decoded:
    """Decode the content of one image file.

    Args:
        data: the content.
        name: of the image, for sentences.
        max_pixels: as for :func:`decode_file`.

    Raises:
        InputError: as for :func:`decode_file`.
    """
    with naming(printable(name)):
        return _decode(io.BytesIO(data), max_pixels)


def _decode(file: BinaryIO, max_pixels: int) -> Decoded:
    head = file.read(HEAD_BYTES)
    if not head:
        raise RefusedError("is empty (0 bytes): an image is expected; copy it again or remove it.")
    for family in FAMILIES:
        if family.recognises(head):
            file.seek(0)
            return family.decode(file, max_pixels)
    raise RefusedError(f"is not an image: {_NAMES} is expected; replace or remove the file.")


@contextmanager
def naming(subject: str) -> Iterator[None]:
    """Turn what goes wrong with one image into one sentence that names it.

    Args:
        subject: the image, as the sentence begins.

    Raises:
        InputError: whatever is raised inside, but for the end of the program.
    """
    try:
        yield
    except InputError:
        raise
    except RefusedError as error:
        raise InputError(f"{subject} {error}") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{subject} has more pixels than its header announces: a complete image is expected; "
            "save it again or remove it."
        ) from error
    # Decoders answer damaged bytes with almost any exception, so none of them is let through.
    except Exception as error:
        reason = printable(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{subject} cannot be decoded ({reason}): a complete image is expected; save it again "
            "or remove it."
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    name = printable(path)
    try:
        # Opening a device can set it off, and a pipe has no end: both are refused unopened, and
        # what took the file's place meanwhile does not make the call wait.
        _check_kind(os.stat(path).st_mode, name)
        file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    except InputError:  # a ValueError, too
        raise
    except FileNotFoundError as error:
        raise InputError(f"no such image file {name}: give a file that exists.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{name} cannot be opened ({reason}): a readable image file is expected; mend its "
            "permissions or its place, or remove it."
        ) from error
    with file:
        _check_kind(os.fstat(file.fileno()).st_mode, name)
        yield file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a folder: an image file is expected; give a file.")
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{name} is a pipe, a socket or a device: an image file is expected; give a file."
        )

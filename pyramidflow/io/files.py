"""Files that are written whole or not at all, and by one process at a time."""

import errno
import hashlib
import os
import secrets
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final

from filelock import FileLock, Timeout

from pyramidflow.errors import InputError, WeakStorageWarning
from pyramidflow.io.names import printable

CHECKPOINT_SUFFIX: Final = ".checkpoint.safetensors"
"""End of the name of a training's checkpoint, which lies beside the detector file."""

_LONGEST_NAME: Final = 255
_NOT_SUPPORTED: Final = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_NO_LOCKS: Final = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    A temporary file in the same folder is written, synced and renamed; it is removed when writing
    fails, and the old file stays as it was. What a killed process leaves behind is removed by
    :func:`exclusive`. Of a link, the file that it leads to is replaced.

    Args:
        path: the file; its folder is made where it is missing.
        write: writes the content to the open binary file it is given.

    Raises:
        InputError: the folder or the file cannot be written (no permission, disk full, …).
    """
    target = _target(path)
    temporary = target.with_name(f"{_temporary_start(target)}{secrets.token_hex(4)}.tmp")
    try:
        _refuse_other_than_a_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Made with the mode that the process's mask leaves: some file systems refuse chmod.
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            _sync(file, path)
        temporary.replace(target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        # Raising from here would hide the reason for which the file could not be written.
        with suppress(OSError):
            temporary.unlink()


def _target(path: Path) -> Path:
    """The file that a path leads to."""
    if "\0" in str(path):
        raise InputError(f"{printable(path)} has a zero byte: no file can have that name.")
    return Path(os.path.realpath(path))


def _refuse_other_than_a_file(target: Path) -> None:
    # Renaming onto /dev/null would put a file in the device's place.
    if target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device or a pipe"
        raise InputError(
            f"{printable(target)} is {kind} where a file is to be written: name a file."
        )


def _temporary_start(path: Path) -> str:
    # Not the name itself: with anything added it could be longer than the file system allows.
    return f".pyramidflow-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _sync(file: BinaryIO, path: Path) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        _warn_once(
            f"the file system of {printable(path.parent)} cannot say when a file is safe on the "
            "disk: what was written last may be lost when the power fails."
        )


def is_full(error: OSError) -> bool:
    """Whether there is no room left, on the disk or in the user's share of it."""
    return error.errno in _NO_ROOM


def unwritable(path: Path, error: OSError) -> InputError:
    """Sentence for a file that could not be written.

    Args:
        path: the file, or the folder that it was to be in.
        error: what the system said.
    """
    reason = "the disk is full" if is_full(error) else error.strerror or str(error)
    return InputError(
        f"{printable(path)} could not be written ({reason}): choose another place or free some."
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read ({error.strerror}): see to its permissions."
        ) from error
    return digest.hexdigest()


def refuse_checkpoint_name(path: Path) -> None:
    """Refuse to write a detector or a report where a training keeps its checkpoint.

    Args:
        path: the file to write.

    Raises:
        InputError: it is named ``NAME.checkpoint.safetensors``.
    """
    if path.name.endswith(CHECKPOINT_SUFFIX):
        detector = path.name.removesuffix(CHECKPOINT_SUFFIX) + ".safetensors"
        raise InputError(
            f"{printable(path)} is the name of the checkpoint of {printable(detector)}: give the "
            "output another name."
        )


@contextmanager
def exclusive(
    path: Path, covers: Iterable[Path] = (), advice: str = "give each its own --output"
) -> Iterator[None]:
    """Keep other processes from writing to a file while the context is open.

    Also tells at once, not after hours of work, that the place cannot be written, and removes the
    temporary files that a killed process left of this file. Where the file system has no locks,
    a :class:`~pyramidflow.errors.WeakStorageWarning` says so and the context opens without one.

    Args:
        path: the file; a lock file lies beside it, and its folder is made where it is missing.
        covers: further files that only the holder of this lock writes.
        advice: what to do where another process holds it.

    Raises:
        InputError: another process holds the file, it is a folder, it is named like a checkpoint,
            or the place cannot be written.
    """
    refuse_checkpoint_name(path)
    target = _target(path)
    try:
        _refuse_other_than_a_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A lock that cannot be written would look like one that is taken.
        tempfile.TemporaryFile(dir=target.parent).close()
        lock = FileLock(_lock_file(target))
        is_locked = _acquire(lock, path)
    except Timeout as error:
        raise InputError(f"another process is writing to {printable(path)}: {advice}.") from error
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        if is_locked:
            _remove_left_over([target, *(Path(os.path.realpath(file)) for file in covers)])
        yield
    finally:
        lock.release()


def _lock_file(target: Path) -> Path:
    name = f".{target.name}.lock"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{_temporary_start(target)}.lock"
    return target.with_name(name)


def _acquire(lock: FileLock, path: Path) -> bool:
    reason: object = None
    is_locked = True
    # filelock says in its own words, with a source line, that it takes a marker file instead.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        try:
            lock.acquire(timeout=0)
        except NotImplementedError as error:  # filelock's older versions, for ENOSYS
            reason, is_locked = error, False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            reason, is_locked = error.strerror, False
    if said:
        reason = said[0].message
    if reason is not None:
        _warn_once(
            f"the file system of {printable(path.parent)} has no locks ({reason}): see to it that "
            "no other process writes there."
        )
    return is_locked


@cache
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, WeakStorageWarning, stacklevel=2)


def _remove_left_over(files: Iterable[Path]) -> None:
    for file in files:
        start = _temporary_start(file)
        with suppress(OSError):
            for name in os.listdir(file.parent):
                if name.startswith(start) and name.endswith(".tmp"):
                    file.with_name(name).unlink()

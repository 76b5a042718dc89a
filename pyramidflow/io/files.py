"""Files that are written whole or not at all, and by one process at a time."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from pyramidflow.errors import InputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    A temporary file in the same folder is written, synced and renamed; it is removed when writing
    fails, and the old file stays as it was.

    Args:
        path: the file; its folder is made where it is missing.
        write: writes the content to the open binary file it is given.

    Raises:
        InputError: the folder or the file cannot be written (no permission, disk full, …).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _unwritable(path: Path, error: OSError) -> InputError:
    reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
    return InputError(f"{path} could not be written ({reason}): choose another place or free some.")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes from writing to a file while the context is open.

    Also tells at once, not after hours of work, that the place cannot be written.

    Args:
        path: the file; a lock file lies beside it, and its folder is made where it is missing.

    Raises:
        InputError: another process holds the file, it is a folder, or the place cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder where a file is to be written: name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A lock that cannot be written would look like one that is taken.
        tempfile.TemporaryFile(dir=path.parent).close()
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another process is writing to {path}: give each its own --output."
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    with lock:
        yield

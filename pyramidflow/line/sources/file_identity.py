"""Which picture a file is: the same file with another content is another picture."""

import hashlib
import os
from pathlib import Path

from pyramidflow.io.names import readable_bytes


def file_identity(name: str, changed: int, size: int) -> str:
    """Identity by name, time of change and size.

    Args:
        name: of the file.
        changed: when, in nanoseconds since 1970.
        size: in bytes.
    """
    return f"{readable_bytes(name)}:{changed}:{size}"


def path_identity(name: str, path: Path) -> str:
    """Identity of a file that lies there; its name alone where it cannot be looked at.

    Args:
        name: of the file.
        path: where it is.
    """
    try:
        return file_identity(name, *changed_and_size(path))
    except OSError:  # its turn says more
        return readable_bytes(name)


def changed_and_size(path: Path) -> tuple[int, int]:
    """When a file was changed, in nanoseconds since 1970, and its size in bytes.

    Raises:
        OSError: it cannot be looked at.
    """
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


def content_identity(path: Path) -> str:
    """Identity by content: a copy of a file is the same picture.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"

"""Objects of stores that fsspec reaches, such as ``s3://`` and ``gs://``: listed and read."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pyramidflow.data.decoding import MAX_PIXELS
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need

LOCAL: Final = ("file", "local")
"""Protocols of this machine's own files."""

_MARKS: Final = (
    *("ETag", "md5Hash", "md5", "etag", "LastModified", "last_modified", "updated"),
    *("mtime", "created"),
)
"""What stores call the mark that is another one when an object's content is; the best first."""

_PATTERN: Final = re.compile(r"[*?\[]")

_PAUSES: Final = (0.5, 2.0)
"""Seconds before each further try to read an object."""


class ObjectAway(Exception):  # noqa: N818 - it is a state
    """An object cannot be read now, which may pass: it is to be tried again by a later run."""


def largest_object(max_pixels: int | None) -> int:
    """Bytes of the largest object that is fetched: more than any image of that size has.

    ``16 · pixels + 2^20``: a float32 TIFF of three channels has 12 bytes a pixel.

    Args:
        max_pixels: of the largest picture that is decoded; ``None`` is the package's own.
    """
    return 16 * (MAX_PIXELS if max_pixels is None else max_pixels) + (1 << 20)


def is_url(text: str) -> bool:
    """Whether a place is no path of a file."""
    return "://" in text


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the object's path in it.

    Args:
        url: ``PROTOCOL://PLACE``; credentials come from where the store's own tools look.

    Raises:
        InputError: the URL holds a password or is chained, its protocol is unknown or needs a
            package that is not installed, or the store refuses.
    """
    need("fsspec", "objects", printable(url))
    import fsspec

    if "::" in url:
        raise InputError(f"{printable(url)} is a chain of places: give one object, or a folder.")
    try:
        has_password = urlsplit(url).password is not None
    except ValueError:  # a bracket, say, which is a pattern's
        has_password = False
    if has_password:
        protocol = url.partition("://")[0]
        raise InputError(
            f"a {printable(protocol)} URL holds a password, which records would repeat: give "
            "credentials by environment variables or by the store's own files."
        )
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(
            f"{printable(url)} needs a package that is not installed ({_first_line(error)}): "
            "pip install 'pyramidflow[objects]', or the one that it names."
        ) from error
    except Exception as error:
        raise _unlistable(url, error) from error
    return system, path


@dataclass(frozen=True)
class StoredObject:
    """An object of a store.

    Attributes:
        url: of the object.
        known: what the store says of it.
        is_named: whether it was named itself, and not only found below a folder or by a pattern.
    """

    url: str
    known: Mapping[str, Any]
    is_named: bool = False

    @property
    def size(self) -> int | None:
        """Bytes, where the store says so."""
        size = self.known.get("size")
        return size if isinstance(size, int) else None

    @property
    def identity(self) -> str:
        """Which picture it is: by its URL, the store's mark of its content, and its size."""
        marks = [self.known[name] for name in _MARKS if self.known.get(name) is not None]
        mark = str(marks[0]).strip('"') if marks else ""
        return printable(f"{self.url}:{mark}:{'' if self.size is None else self.size}")


def find_objects(url: str) -> list[StoredObject]:
    """The objects that a URL stands for: itself, all below it, or all that fit a pattern.

    Hidden ones, with a name below it that starts with a dot, are skipped without a word.

    Args:
        url: see :func:`opened`.

    Returns:
        Sorted by their URLs; empty where there is nothing.

    Raises:
        InputError: see :func:`opened`, or the store cannot be asked.
    """
    system, path = opened(url)
    has_pattern = _PATTERN.search(path) is not None
    try:
        found = system.glob(path, detail=True) if has_pattern else _at(system, path)
    except FileNotFoundError:
        return []
    except Exception as error:  # every store has errors of its own
        raise _unlistable(url, error) from error
    start = _PATTERN.split(path)[0].rpartition("/")[0] if has_pattern else path.rstrip("/")
    objects = [
        StoredObject(str(system.unstrip_protocol(name)), known, name == path)
        for name, known in found.items()
        if known.get("type") != "directory"
        if not any(part.startswith(".") for part in name.removeprefix(start).split("/"))
    ]
    return sorted(objects, key=lambda each: each.url)


def _at(system: Any, path: str) -> Mapping[str, Mapping[str, Any]]:
    known = system.info(path)
    if known.get("type") == "directory":
        below: Mapping[str, Mapping[str, Any]] = system.find(path, detail=True)
        return below
    return {path: known}


def read_object(url: str) -> bytes:
    """The content of an object; what fails is tried again after a moment.

    Args:
        url: of the object.

    Raises:
        InputError: there is no such object.
        ObjectAway: it cannot be read now.
    """
    for pause in (*_PAUSES, None):
        try:
            system, path = opened(url)
            content: bytes = system.cat_file(path)
            return content
        except FileNotFoundError as error:
            raise InputError(f"no such object {printable(url)}: give one that exists.") from error
        except Exception as error:
            if pause is None or isinstance(error, PermissionError | InputError):
                raise ObjectAway(
                    f"{printable(url)} could not be read ({_first_line(error)}): see whether the "
                    "store is there and lets you in; the same command tries it again."
                ) from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def local_path(url: str) -> str | None:
    """The path of a ``file://`` URL; ``None`` for any other."""
    system, path = opened(url)
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return path if set(protocols) & set(LOCAL) else None


def _unlistable(url: str, error: Exception) -> InputError:
    return InputError(
        f"{printable(url)} cannot be listed ({_first_line(error)}): see whether the store is "
        "there, whether the URL is right, and whether its credentials are set."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(lines[0]).rstrip(".") if lines else type(error).__name__

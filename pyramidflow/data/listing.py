"""Image files found in folders, and what was left out there."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data.decoding import IMAGE_SUFFIXES
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

IN_SUBFOLDER = "in a sub-folder"
LINKED_FOLDER = "linked folder"
NO_PERMISSION = "no permission"
CANNOT_BE_LISTED = "cannot be listed"

# Systems put these into every folder that somebody looks at.
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was found but not listed.

    Attributes:
        path: where it is.
        reason: ``"in a sub-folder"`` (an image), ``"linked folder"``, ``"no permission"``,
            ``"cannot be listed (REASON)"`` (folders), ``"ending .xyz is not read"`` or ``"no
            ending"`` (files).
    """

    path: Path
    reason: str

    @property
    def is_unknown(self) -> bool:
        """Whether it is a folder that nobody could look into."""
        return self.reason == NO_PERMISSION or self.reason.startswith(CANNOT_BE_LISTED)


@dataclass(frozen=True)
class Listing:
    """The image files of a folder.

    Attributes:
        files: ordered by their path relative to the folder, written with ``/`` and compared
            character by character: the same order on every machine.
        left_out: in the same order.
    """

    files: list[Path]
    left_out: list[LeftOut]


def find_images(folder: Path | str, recursive: bool = False) -> Listing:
    """Find the image files of a folder, and say what was left out.

    A file counts by its ending (``IMAGE_SUFFIXES``, in any case), whatever it is: reading it tells
    whether it is damaged, a dangling link or not to be opened. Hidden files and folders, whose
    names start with a dot, are skipped without a word: macOS leaves ``._part.png`` beside
    ``part.png``. Links to folders are not followed: they can lead in circles, and to the same
    images twice.

    Args:
        folder: the folder; may itself be a link.
        recursive: also list the folders below it; otherwise the images there are left out.

    Returns:
        The files and what was left out. One entry that cannot be looked at ends nothing.

    Raises:
        InputError: the folder itself does not exist, is a file, or cannot be listed.
    """
    root = existing_folder(folder)
    files: list[Path] = []
    left_out: list[LeftOut] = []
    for found in _walk(root):
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif recursive or found.parent == root:
            files.append(found)
        else:
            left_out.append(LeftOut(found, IN_SUBFOLDER))

    # All paths begin with the folder's, so that they are ordered as their ends are.
    files.sort(key=Path.as_posix)
    left_out.sort(key=lambda item: item.path.as_posix())
    return Listing(files, left_out)


def list_images(folder: Path | str, recursive: bool = False) -> list[Path]:
    """List the image files of a folder: those of :func:`find_images`, for callers that count none.

    Args:
        folder: the folder.
        recursive: also list the folders below it.

    Raises:
        InputError: as :func:`find_images`.
    """
    return find_images(folder, recursive).files


def existing_folder(folder: "str | os.PathLike[str]") -> Path:
    """Check that a folder is one.

    Raises:
        InputError: it does not exist, cannot be looked at, or is a file.
    """
    if not isinstance(folder, str | os.PathLike):
        raise InputError(
            f"a {type(folder).__name__} is given for a folder of images: a path is expected; give "
            "the folder that holds the images."
        )
    path = Path(folder)
    if os.path.isdir(path):
        return path
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"no such folder: {printable(path)}: the folder that holds the images is expected; "
            "give one that exists."
        ) from error
    except (OSError, ValueError) as error:
        raise _unlistable(path, error) from error
    raise InputError(
        f"{printable(path)} is a file, or a link that leads nowhere: a folder is expected; give "
        "the folder that holds the images."
    )


def images_directly_in(folder: Path) -> list[Path]:
    """Return the image files of a folder without a look at the folders below it, sorted by name.

    Raises:
        InputError: the folder cannot be listed.
    """
    return [
        folder / entry.name
        for entry in _entries(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and not _is_folder(entry)
    ]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, links included and hidden ones not, sorted by name.

    Raises:
        InputError: the folder cannot be listed.
    """
    return [folder / entry.name for entry in _entries(folder) if _is_folder(entry)]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    # An entry knows whether it is a folder: asking the file system once more for each of a hundred
    # thousand images takes minutes on a network.
    try:
        with os.scandir(folder) as scan:
            visible = [entry for entry in scan if not entry.name.startswith(".")]
    except OSError as error:
        raise _unlistable(folder, error) from error
    return sorted(visible, key=lambda entry: entry.name)


def _walk(folder: Path) -> Iterator[Path | LeftOut]:
    pending = [folder]
    while pending:
        parent = pending.pop()
        try:
            with os.scandir(parent) as scan:
                entries = list(scan)
        except OSError as error:
            if parent == folder:
                raise _unlistable(folder, error) from error
            yield LeftOut(parent, _reason(error))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = parent / entry.name
            if not _is_folder(entry):
                yield from _file(path, entry.name)
            elif entry.is_symlink():
                yield LeftOut(path, LINKED_FOLDER)
            else:
                pending.append(path)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Reading the entry as an image tells what is wrong with it.
        return False


def _file(path: Path, name: str) -> Iterator[Path | LeftOut]:
    name = name.lower()
    if name.endswith(IMAGE_SUFFIXES):
        yield path
    elif name not in _SYSTEM_FILES:
        suffix = path.suffix
        yield LeftOut(path, f"ending {suffix} is not read" if suffix else "no ending")


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return NO_PERMISSION
    return f"{CANNOT_BE_LISTED} ({error.strerror})"


def _unlistable(folder: Path, error: OSError | ValueError) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"{printable(folder)} cannot be listed ({reason}): a folder that can be read is expected; "
        "mend its permissions or its place, or leave it out."
    )

"""Where images to inspect come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data import list_images
from pyramidflow.errors import InputError


@dataclass(frozen=True)
class Source:
    """An image to inspect.

    Attributes:
        path: the file, as the user named or found it.
        name: unique among the sources, without suffix; names the files written for it.
    """

    path: Path
    name: str


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """List the images that paths stand for.

    A file stands for itself, a folder for all images below it, sorted. Two images that would have
    the same name get a number behind it.

    Args:
        paths: files and folders.

    Returns:
        Sources in the order of the paths.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    found: list[tuple[Path, str]] = []
    for path in paths:
        if path.is_dir():
            below = list_images(path, recursive=True)
            if not below:
                raise InputError(
                    f"there are no images below {path}: name a folder that holds some."
                )
            found += [(file, file.relative_to(path).with_suffix("").as_posix()) for file in below]
        elif path.exists():
            found.append((path, path.stem))
        else:
            raise InputError(f"there is no file or folder {path}: name images or folders of them.")
    return [Source(path, name) for path, name in _with_unique_names(found)]


def _with_unique_names(found: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    used: set[str] = set()
    unique = []
    for path, name in found:
        candidate, number = name, 2
        while candidate.lower() in used:  # some file systems do not tell cases apart
            candidate, number = f"{name}-{number}", number + 1
        used.add(candidate.lower())
        unique.append((path, candidate))
    return unique

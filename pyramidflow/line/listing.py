"""Frames from files and folders that are named, in order."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyramidflow.data import LeftOut, Listing, find_images
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame, with_free_names
from pyramidflow.line.results.names import PICTURE_SUFFIXES


@dataclass(frozen=True)
class FoundFrames:
    """What paths stand for.

    Attributes:
        frames: in the order of the paths.
        left_out: files and folders below them that are not inspected.
    """

    frames: list[Frame]
    left_out: list[LeftOut]


def named_paths(paths: Iterable[Path]) -> list[Path]:
    """Files and folders, with what fits a pattern such as ``in/*.png`` in the pattern's place.

    Args:
        paths: files, folders and patterns; what exists under its own name is no pattern.

    Raises:
        InputError: nothing fits a pattern.
    """
    found: list[Path] = []
    for path in paths:
        if not glob.has_magic(str(path)) or path.exists():
            found.append(path)
            continue
        matching = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
        if not matching:
            raise InputError(f"no file fits {printable(path)}: name images or folders.")
        found += matching
    return found


def find_frames(paths: Sequence[Path], output: Path | None = None) -> FoundFrames:
    """List the images that paths stand for.

    A file stands for itself, a folder for all images below it, sorted. What an inspection wrote
    below ``output`` is left out. Two images that would have the same name get a number behind it,
    as does one whose picture would be written over a frame's file.

    A path that stands for no image becomes a frame with a problem, as long as others do.

    Args:
        paths: files and folders.
        output: folder for the results.

    Raises:
        InputError: there is nothing to inspect at all.
    """
    wanted: list[Frame] = []
    left_out: list[LeftOut] = []
    for path in paths:
        images, others = _found_at(path, output)
        wanted += images
        left_out += others
    problems = [frame.problem for frame in wanted if frame.problem]
    if len(problems) == len(wanted):
        raise InputError(_nothing_to_inspect(problems))
    return FoundFrames(with_free_names(wanted, pictures_among(wanted, output)), left_out)


def pictures_among(frames: Iterable[Frame], output: Path | None) -> list[str]:
    """Names, below their folder, of the frames' files that lie where pictures are written.

    Args:
        frames: what is inspected.
        output: folder for the results.
    """
    if output is None:
        return []
    folders = [f"{os.path.realpath(output / name)}{os.sep}" for name in PICTURE_SUFFIXES]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    if not folders:
        return []
    files = [os.path.realpath(frame.path) for frame in frames if frame.path is not None]
    return [
        file.removeprefix(folder).replace(os.sep, "/")
        for folder in folders
        for file in files
        if file.startswith(folder)
    ]


def _found_at(path: Path, output: Path | None) -> tuple[list[Frame], list[LeftOut]]:
    try:
        is_folder = os.path.isdir(path)
        if not is_folder:
            path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return [
            _problem(path, f"there is no file or folder {printable(path)}: name images or folders.")
        ], []
    except OSError:
        pass  # reading it says more, and belongs to its turn
    if not is_folder:
        return [Frame(path, path.stem)], []
    try:
        listing = find_images(path, recursive=True)
    except (InputError, OSError) as error:
        return [_problem(path, str(error))], []
    return _found_below(path, listing, _results_below(path, output))


def _found_below(
    folder: Path, listing: Listing, results: Sequence[Path]
) -> tuple[list[Frame], list[LeftOut]]:
    images = [
        Frame(file, file.relative_to(folder).with_suffix("").as_posix())
        for file in listing.files
        if not _is_in(file, results)
    ]
    left_out = [
        LeftOut(file, "below the output") for file in listing.files if _is_in(file, results)
    ]
    if not images:
        held = "holds only results of an inspection" if left_out else "holds no images"
        sentence = f"{printable(folder)} {held}: name a folder with images below it."
        images.append(_problem(folder, sentence))
    for item in listing.left_out:
        if _is_in(item.path, results):
            continue
        if item.is_unknown:  # parts that should be inspected may lie in it
            sentence = f"{printable(item.path)} could not be searched ({item.reason}): mend it."
            images.append(_problem(item.path, sentence))
        else:
            left_out.append(item)
    return images, left_out


def _problem(path: Path, sentence: str) -> Frame:
    return Frame(path, path.name, sentence)


def _results_below(folder: Path, output: Path | None) -> list[Path]:
    """Folders of results in a folder of images, as paths that start with the latter."""
    if output is None:
        return []
    real_folder, real_output = os.path.realpath(folder), os.path.realpath(output)
    # In a folder that is inspected as a whole, or lies around it, images are no results.
    is_inside = real_output != real_folder and _is_in(Path(real_output), [Path(real_folder)])
    results = (
        [real_output] if is_inside else [os.path.join(real_output, x) for x in PICTURE_SUFFIXES]
    )
    return [folder / os.path.relpath(result, real_folder) for result in results]


def _is_in(file: Path, folders: Iterable[Path]) -> bool:
    return any(folder == file or folder in file.parents for folder in folders)


def _nothing_to_inspect(problems: Sequence[str]) -> str:
    if not problems:
        return "there is nothing to inspect: name images, or folders of them."
    if len(problems) == 1:
        return problems[0]
    return f"none of the {len(problems)} paths can be inspected; the first: {problems[0]}"

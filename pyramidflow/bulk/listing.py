"""The pictures of an archive: files, folders, patterns, and objects of stores."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyramidflow.bulk.objects import find_objects, is_url, local_path
from pyramidflow.data import IMAGE_SUFFIXES
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable, user_path
from pyramidflow.line.frame import Frame
from pyramidflow.line.listing import find_frames, named_paths
from pyramidflow.line.sources.file_identity import path_identity

PICTURES_NAME: Final = "pictures"
"""Folder of the overlays and maps, in the output."""


@dataclass(frozen=True)
class Picture:
    """A picture to inspect, wherever it lies.

    Attributes:
        place: absolute path of the file, or URL of the object.
        origin: the same as the user named it; records say it.
        identity: by place, time of change and size: the same place with another content is
            another picture.
        problem: why there is no picture, where that is known before it is read.
    """

    place: str
    origin: str
    identity: str
    problem: str | None = None

    @property
    def is_object(self) -> bool:
        """Whether it has to be fetched from a store."""
        return is_url(self.place)


@dataclass(frozen=True)
class PassedOver:
    """What lies there and is not inspected.

    Attributes:
        path: or URL.
        reason: in a few words.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class FoundPictures:
    """What paths stand for.

    Attributes:
        pictures: each once, in the order of the paths.
        left_out: files, folders and objects that are not inspected.
    """

    pictures: list[Picture]
    left_out: list[PassedOver]


def find_pictures(paths: Sequence[str], output: Path, largest: int) -> FoundPictures:
    """List the pictures that paths stand for.

    A file stands for itself, a folder for all images below it, a pattern for what fits it; so do
    URLs such as ``s3://bucket/folder`` and ``file:///folder``. What stands there twice is one
    picture.

    Args:
        paths: paths and URLs.
        output: folder of the results; what an inspection wrote there is left out.
        largest: bytes of an object that is fetched.

    Raises:
        InputError: there is nothing to inspect, a pattern fits nothing, or a store cannot be asked.
    """
    files: list[Path] = []
    pictures: list[Picture] = []
    left_out: list[PassedOver] = []
    for text in paths:
        local = text if not is_url(text) else local_path(text)
        if local is not None:
            files.append(user_path(local))
        else:
            objects, others = _found_in_store(text, largest)
            pictures += objects
            left_out += others
    if files:
        found = find_frames(named_paths(files), output)
        left_out += [PassedOver(str(item.path), item.reason) for item in found.left_out]
        inside, others = _without_results(found.frames, output)
        pictures = [*map(_of_frame, inside), *pictures]
        left_out += others
    problems = [picture.problem for picture in pictures if picture.problem is not None]
    if len(problems) == len(pictures):
        first = problems[0] if problems else "name images, or folders of them."
        raise InputError(f"there is nothing to inspect: {first}")
    return FoundPictures(list({each.identity: each for each in pictures}.values()), left_out)


def _of_frame(frame: Frame) -> Picture:
    path = Path(frame.origin) if frame.path is None else frame.path
    place = os.path.abspath(path)
    # By the absolute path: the same command from another folder finds the same pictures.
    identity = path_identity(place, path)
    return Picture(place, frame.origin, identity, frame.problem)


def _without_results(frames: Iterable[Frame], output: Path) -> tuple[list[Frame], list[PassedOver]]:
    written = os.path.join(os.path.realpath(output / PICTURES_NAME), "")
    kept: list[Frame] = []
    left_out: list[PassedOver] = []
    for frame in frames:
        if frame.path is not None and os.path.realpath(frame.path).startswith(written):
            left_out.append(PassedOver(frame.origin, "below the output"))
        else:
            kept.append(frame)
    return kept, left_out


def _found_in_store(url: str, largest: int) -> tuple[list[Picture], list[PassedOver]]:
    pictures: list[Picture] = []
    left_out: list[PassedOver] = []
    for each in find_objects(url):
        if not each.is_named and not each.url.lower().endswith(IMAGE_SUFFIXES):
            left_out.append(PassedOver(each.url, "not named as an image"))
            continue
        origin, problem = printable(each.url), None
        if each.size is not None and each.size > largest:
            problem = (
                f"{origin} has {each.size} bytes: an image of the size that is allowed has at most "
                f"{largest}; see --max-megapixels."
            )
        pictures.append(Picture(each.url, origin, each.identity, problem))
    if not pictures:
        origin = printable(url)
        sentence = f"{origin} holds no images: name an object, or a folder with images below it."
        pictures.append(Picture(url, origin, origin, sentence))
    return pictures, left_out

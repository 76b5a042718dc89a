"""What all layouts share: the form they are read into, and folders found by their names."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyramidflow.data.listing import LeftOut, subfolders
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

GOOD = "good"
UNKNOWN_FOLDER = "folder of no known name"

_GOOD_NAMES = frozenset({"good", "ok", "normal"})
_NEAR_GOOD = frozenset(
    {"okay", "oks", "goods", "normals", "defectfree", "nodefect", "nodefects"}
    | {"io", "gut", "pass", "passed"}
)
_NEAR_TRUTH = frozenset(
    {"groundtruth", "groundtruths", "gt", "truth", "mask", "masks", "label", "labels"}
    | {"annotation", "annotations", "segmentation", "segmentations"}
)


@dataclass(frozen=True)
class Sample:
    """One test image and what is known about it.

    Attributes:
        path: the image file.
        kind: ``"good"``, or the name of the folder of its kind of defect.
        is_defective: by the folder, never by whether a mask is empty.
        mask_path: where the defect is; None for good images and where there is no ground truth.
        problem: why it is not known where the defect is, though other masks are there.
    """

    path: Path
    kind: str
    is_defective: bool
    mask_path: Path | None
    problem: str | None = None


@dataclass(frozen=True)
class Category:
    """One kind of part: good images to train from, and images to test on.

    Attributes:
        name: the name of its folder.
        root: its folder.
        layout: the name of the layout, ``"folder"`` for a plain folder of images.
        train: good images, sorted.
        test: test images, sorted by path; empty where the layout has none.
        left_out: what lies in the category's folders and is neither trained from nor tested on.
        remarks: sentences about what the data set lacks, for people.
    """

    name: str
    root: Path
    layout: str
    train: tuple[Path, ...]
    test: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass
class Contents:
    """What a layout reads from a category's folder; in any order."""

    train: list[Path] = field(default_factory=list)
    test: list[Sample] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """A way in which the folders of a category are laid out.

    Attributes:
        name: as :attr:`Category.layout` has it.
        title: as people know it, for sentences.
        good_folder: where good images to train from are, for sentences.
        recognises: whether a folder is a category of this layout.
        read: reads a category's folder.
        order: layouts are asked from the lowest number on whether they recognise a folder.
    """

    name: str
    title: str
    good_folder: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Contents]
    order: int = 10


def is_good(name: str) -> bool:
    """Whether a folder's name says that its images are good, in any case."""
    return name.casefold() in _GOOD_NAMES


def is_near_good(name: str) -> bool:
    """Whether a folder's name is not one for good images but looks as if it was meant as one."""
    plain = _letters(name)
    if is_good(name) or re.match("un|ab|bad|ng|no(?!rmal)", plain):
        return plain in _NEAR_GOOD
    return plain in _GOOD_NAMES | _NEAR_GOOD or bool(
        difflib.get_close_matches(plain, ("good", "normal"), n=1, cutoff=0.8)
    )


def is_near_truth(name: str) -> bool:
    """Whether a folder's name looks as if it was meant for masks."""
    return _letters(name) in _NEAR_TRUTH


def refuse_near_good(folders: Sequence[Path]) -> None:
    """Refuse a folder that looks as if it was meant for good images.

    Its images would count as defective, or not at all.

    Raises:
        InputError: there is one.
    """
    for folder in folders:
        if is_near_good(folder.name):
            raise InputError(
                f"{printable(folder)} looks like a folder of good images: the name good, ok or "
                "normal is expected, in any case; rename it, or if it holds defects, give it "
                "another name."
            )


def folder_named(parent: Path, name: str) -> Path | None:
    """Find a folder by its name in any case.

    Returns:
        The folder, or None.

    Raises:
        InputError: there are two, which differ in case.
    """
    found = folders_named(parent, name)
    if len(found) > 1:
        raise InputError(
            f"{printable(found[0])} and {printable(found[1])} differ in case alone: one of them is "
            "expected; join them."
        )
    return found[0] if found else None


def folders_named(parent: Path, name: str) -> list[Path]:
    """Find all folders of a name in any case; none where the parent cannot be listed."""
    return [child for child in _quiet(parent) if child.name.casefold() == name.casefold()]


def has_labelled_folder(root: Path, is_label: Callable[[str], bool]) -> bool:
    """Whether ``train`` or ``test``, in any case, holds a folder with a name that is asked for."""
    return any(
        is_label(child.name)
        for part in _quiet(root)
        if part.name.casefold() in ("train", "test")
        for child in _quiet(part)
    )


def _quiet(folder: Path) -> list[Path]:
    try:
        return subfolders(folder)
    except InputError:
        return []


def _letters(name: str) -> str:
    return re.sub(r"[\W_\d]+", "", name.casefold())

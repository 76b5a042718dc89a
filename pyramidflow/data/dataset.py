"""A data set opened: its layout recognised, its category chosen and read."""

import difflib
import os
from functools import cache
from pathlib import Path

from pyramidflow.data.layouts.common import Category, Contents, Layout
from pyramidflow.data.layouts.folder import FOLDER
from pyramidflow.data.listing import (
    IN_SUBFOLDER,
    existing_folder,
    images_directly_in,
    subfolders,
)
from pyramidflow.discovery import offered
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


@cache
def layouts() -> tuple[Layout, ...]:
    """All layouts, in the order in which they are tried: those in ``data/layouts``."""
    return tuple(sorted(offered("pyramidflow.data.layouts", Layout), key=lambda one: one.order))


def list_categories(root: Path | str) -> list[str]:
    """List the categories of a data set.

    Args:
        root: the folder that holds one folder for each category.

    Returns:
        The names, sorted. Empty for a category's own folder and for a plain folder of images.

    Raises:
        InputError: no such folder, or it cannot be listed.
    """
    folder = existing_folder(root)
    if _layout(folder) is not FOLDER:
        return []
    return [child.name for child in subfolders(folder) if _layout(child) is not FOLDER]


def open_dataset(root: "str | os.PathLike[str]", category: str | None = None) -> Category:
    """Read one category of a data set; the layout is recognised by itself.

    The files of ``data/layouts`` say what lies where, one layout each. Names of folders count in
    any case. In MVTec AD's and BTAD's layout ``good``, ``ok`` and ``normal`` all mean good images;
    a name that is near to them, such as ``goods``, is refused, since its images would count as
    defective. A mask has its image's name, with or without ``_mask``, and any image suffix.

    Args:
        root: the data set, one category's folder, or a plain folder of good images.
        category: which category, where the data set has several.

    Returns:
        The category, with what was left out and remarks that people should read. A folder without
        test images has an empty ``test``, one with test images only an empty ``train``.

    Raises:
        InputError: no such folder or one that cannot be listed, no images, no such category,
            several categories and none named, a folder with a name near to one that is expected, a
            test image without its mask where masks exist, or a mask without its image.
    """
    given = existing_folder(root)
    folder = _choose_category(given, category)
    layout = _layout(folder)
    contents = layout.read(folder)
    if not contents.train and not contents.test:
        raise _no_images(folder, layout, contents)
    if folder != given and category is None and (beside := images_directly_in(given)):
        contents.remarks.append(
            f"{len(beside)} images directly in {printable(given)} are left out: its one category, "
            f"{printable(folder.name)}, is read."
        )

    # All paths begin with the folder's, so that they are ordered as their ends are.
    return Category(
        _name(folder),
        folder,
        layout.name,
        tuple(sorted(contents.train, key=Path.as_posix)),
        tuple(sorted(contents.test, key=lambda sample: sample.path.as_posix())),
        tuple(sorted(contents.left_out, key=lambda item: item.path.as_posix())),
        tuple(contents.remarks),
    )


def _name(folder: Path) -> str:
    # Not resolve(): a link to a category has the name that it was given.
    return os.path.basename(os.path.abspath(folder))


def _layout(folder: Path) -> Layout:
    return next(layout for layout in layouts() if layout.recognises(folder))


def _no_images(folder: Path, layout: Layout, contents: Contents) -> InputError:
    expected = _expected() if layout is FOLDER else "good images to train from"
    below = sum(item.reason == IN_SUBFOLDER for item in contents.left_out)
    others = len(contents.left_out) - below
    counted = [f"{below} images lie in sub-folders"] if below else []
    counted += [f"{others} other entries are not read"] if others else []
    found = f" ({', '.join(counted)})" if counted else ""
    return InputError(
        f"{printable(folder / layout.good_folder)} holds no images{found}: {expected} is expected; "
        "put them there."
    )


def _expected() -> str:
    named = [f"CATEGORY/{x.good_folder} ({x.title})" for x in layouts() if x is not FOLDER]
    return f"images directly in the folder, or {', '.join(named[:-1])} or {named[-1]}"


def _choose_category(root: Path, category: str | None) -> Path:
    categories = list_categories(root)
    listed = ", ".join(printable(name) for name in categories)
    if category is None:
        if len(categories) > 1:
            raise InputError(
                f"{printable(root)} holds {len(categories)} categories ({listed}): one is "
                "expected; say which by --category NAME."
            )
        return root / categories[0] if categories else root
    if category in categories:
        return root / category
    if categories:
        lowered = {name.lower(): name for name in categories}
        near = difflib.get_close_matches(category.lower(), lowered, n=1, cutoff=0.5)
        nearest = f"the nearest, {printable(lowered[near[0]])}, or another" if near else "one"
        raise InputError(
            f"{printable(root)} holds no category {category!r}: by --category give {nearest} of: "
            f"{listed}."
        )
    if category == _name(root):
        return root
    raise InputError(
        f"{printable(root)} is one category or a plain folder: category {category!r} was asked of "
        "it; leave --category out or give the folder above."
    )

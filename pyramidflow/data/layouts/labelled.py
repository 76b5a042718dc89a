"""Categories with folders ``train``, ``test`` and ``ground_truth``, a folder in them a label."""

from pathlib import Path

from pyramidflow.data.layouts.common import (
    GOOD,
    UNKNOWN_FOLDER,
    Contents,
    Sample,
    folder_named,
    is_good,
    is_near_truth,
    refuse_near_good,
)
from pyramidflow.data.layouts.truth import match_masks
from pyramidflow.data.listing import LeftOut, find_images, images_directly_in, subfolders
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def read_labelled(root: Path) -> Contents:
    """Read a category whose labels are the names of folders.

    Args:
        root: its folder.

    Raises:
        InputError: as :func:`pyramidflow.data.open_dataset`.
    """
    contents = Contents()
    _read_train(folder_named(root, "train"), contents)
    _read_test(root, folder_named(root, "test"), contents)
    return contents


def _read_train(train: Path | None, contents: Contents) -> None:
    if train is None:
        return
    folders = subfolders(train)
    refuse_near_good(folders)
    for folder in folders:
        if is_good(folder.name):
            listing = find_images(folder)
            contents.train += listing.files
            contents.left_out += listing.left_out
        else:
            contents.left_out.append(LeftOut(folder, UNKNOWN_FOLDER))
    outside = "not in a folder of good images"
    contents.left_out += [LeftOut(path, outside) for path in images_directly_in(train)]


def _read_test(root: Path, test: Path | None, contents: Contents) -> None:
    if test is None:
        return
    stray = images_directly_in(test)
    if stray:
        raise InputError(
            f"{printable(stray[0])} lies outside the folders test/good and test/DEFECT that label "
            "test images: such a folder is expected; move it into one of them."
        )
    folders = subfolders(test)
    refuse_near_good(folders)
    _refuse_masks_among(folders, root)
    truth = folder_named(root, "ground_truth")
    for folder in folders:
        listing = find_images(folder)
        contents.left_out += listing.left_out
        if is_good(folder.name):
            contents.test += [Sample(path, GOOD, False, None) for path in listing.files]
        else:
            masks = None if truth is None else folder_named(truth, folder.name)
            expected = None if truth is None else truth / folder.name
            contents.test += match_masks(listing.files, folder.name, masks, expected)
    if truth is not None:
        _refuse_masks_without_images(truth, {folder.name.casefold() for folder in folders})
    contents.remarks += _remarks(root, test, truth, contents.test)


def _refuse_masks_among(folders: list[Path], root: Path) -> None:
    for folder in folders:
        if is_near_truth(folder.name):
            raise InputError(
                f"{printable(folder)} looks like a folder of masks among those of test images: "
                f"masks are expected in {printable(root / 'ground_truth')}; move it there."
            )


def _refuse_masks_without_images(truth: Path, kinds: set[str]) -> None:
    for folder in subfolders(truth):
        if folder.name.casefold() not in kinds and not is_good(folder.name):
            match_masks([], folder.name, folder, folder)


def _remarks(root: Path, test: Path, truth: Path | None, samples: list[Sample]) -> list[str]:
    remarks = []
    if samples and all(sample.is_defective for sample in samples):
        remarks.append(
            f"{printable(test)} has no good images (folders good, ok or normal, in any case): "
            "every test image counts as defective."
        )
    near = [folder for folder in subfolders(root) if is_near_truth(folder.name)]
    if truth is None and near:
        remarks.append(
            f"no masks were found: they are expected in {printable(root / 'ground_truth')}; if "
            f"{printable(near[0])} holds them, rename it."
        )
    return remarks

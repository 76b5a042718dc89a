"""The layout of VisA.

========  ============================================================
training  ``Data/Images/Normal``
test      its last tenth, or as the table says; ``Data/Images/Anomaly``
masks     ``Data/Masks/Anomaly``
========  ============================================================

The split is ``split_csv/1cls.csv`` beside the categories. Without that file the last tenth of the
normal images in sorted order is for testing, at least one if there are three or more.
"""

import csv
from pathlib import Path

from pyramidflow.data.layouts.common import (
    GOOD,
    UNKNOWN_FOLDER,
    Contents,
    Layout,
    Sample,
    folder_named,
    folders_named,
    is_near_good,
    is_near_truth,
    refuse_near_good,
)
from pyramidflow.data.layouts.truth import match_masks
from pyramidflow.data.listing import LeftOut, find_images, subfolders
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def _recognises(folder: Path) -> bool:
    return any(
        child.name.casefold() == "normal" or is_near_good(child.name)
        for data in folders_named(folder, "Data")
        for images in folders_named(data, "Images")
        for child in subfolders(images)
    )


def _read(folder: Path) -> Contents:
    table = folder.resolve().parent / "split_csv" / "1cls.csv"
    if table.is_file():
        return _read_table(folder, table)
    data = _child(folder, "Data")
    images = _child(data, "Images")
    contents = Contents()
    for child in subfolders(images):
        listing = find_images(child)
        if child.name.casefold() == "normal":
            contents.left_out += listing.left_out
            _split(listing.files, contents)
        elif child.name.casefold() == "anomaly":
            contents.left_out += listing.left_out
            masks = folder_named(data, "Masks")
            contents.test += match_masks(
                listing.files,
                child.name,
                None if masks is None else folder_named(masks, child.name),
                None if masks is None else masks / child.name,
            )
        else:
            refuse_near_good([child])
            contents.left_out.append(LeftOut(child, UNKNOWN_FOLDER))
    contents.remarks += _remarks(data)
    return contents


def _child(folder: Path, name: str) -> Path:
    return folder_named(folder, name) or folder / name


def _split(normal: list[Path], contents: Contents) -> None:
    held = max(1, len(normal) // 10) if len(normal) > 2 else 0
    kept = len(normal) - held
    contents.train += normal[:kept]
    contents.test += [Sample(path, GOOD, False, None) for path in normal[kept:]]


def _remarks(data: Path) -> list[str]:
    near = [folder for folder in subfolders(data) if is_near_truth(folder.name)]
    if folder_named(data, "Masks") is not None or not near:
        return []
    return [
        f"no masks were found: they are expected in {printable(data / 'Masks')}; if "
        f"{printable(near[0])} holds them, rename it."
    ]


def _read_table(folder: Path, table: Path) -> Contents:
    name = folder.resolve().name
    train: list[Path] = []
    test: list[Sample] = []
    has_masks = folder_named(_child(folder, "Data"), "Masks") is not None
    for row in _table_rows(table):
        if row["object"] != name:
            continue
        path = _file_of_table(folder, row["image"], table)
        defective = path.parent.name != "Normal"
        if row["split"] == "test":
            mask = _file_of_table(folder, row["mask"], table) if row["mask"] else None
            if defective and mask is None and has_masks:
                raise InputError(
                    f"{printable(table)} names no mask for {printable(row['image'])}: one is "
                    "expected, since there are masks; add it to its row."
                )
            kind = path.parent.name if defective else GOOD
            test.append(Sample(path, kind, defective, mask if defective else None))
        elif row["split"] == "train" and not defective:
            train.append(path)
        else:
            raise InputError(
                f"{printable(table)} puts {printable(row['image'])} into the split "
                f"{row['split']!r}: train (normal images only) or test is expected; correct its "
                "row."
            )
    if not train:
        raise InputError(
            f"{printable(table)} lists no training image of {printable(name)}: some are expected; "
            "add its rows, or remove the file to test on the last tenth of the normal images."
        )
    return Contents(train=train, test=test, remarks=_remarks(_child(folder, "Data")))


def _table_rows(table: Path) -> list[dict[str, str]]:
    columns = {"object", "split", "image", "mask"}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{printable(table)} cannot be read as a table ({printable(error)}): CSV is expected; "
            "copy it again."
        ) from error
    if not columns <= set(reader.fieldnames or ()):
        raise InputError(
            f"{printable(table)} has the columns {reader.fieldnames}: object, split, label, image "
            "and mask are expected; copy it again."
        )
    return rows


def _file_of_table(folder: Path, name: str, table: Path) -> Path:
    # Names start with the category: seen from its own folder, that part is the folder itself.
    path = folder.joinpath(*Path(name).parts[1:])
    if not path.is_file():
        raise InputError(
            f"{printable(table)} names {printable(name)}, which does not exist: an image file is "
            "expected; restore it or remove its row."
        )
    return path


VISA = Layout("visa", "VisA", "Data/Images/Normal", _recognises, _read, order=30)

"""The folder layouts in which inspection data sets come, recognised and read into one form."""

import csv
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyramidflow.data.images import list_images
from pyramidflow.errors import InputError

GOOD = "good"

_GOOD_FOLDERS = {"mvtec": Path("train/good"), "btad": Path("train/ok")}
_VISA_GOOD_FOLDER = Path("Data/Images/Normal")
_GOOD_NAMES = ("good", "ok")
_EXPECTED = (
    "images directly in the folder, or CATEGORY/train/good (MVTec AD), CATEGORY/train/ok (BTAD) or "
    "CATEGORY/Data/Images/Normal (VisA)"
)


@dataclass(frozen=True)
class Sample:
    """One test image and what is known about it.

    Attributes:
        path: the image file.
        kind: ``"good"``, or the name of the folder of its kind of defect.
        is_defective: by the folder, never by whether a mask is empty.
        mask_path: where the defect is; None for good images and where there is no ground truth.
    """

    path: Path
    kind: str
    is_defective: bool
    mask_path: Path | None


@dataclass(frozen=True)
class Category:
    """One kind of part: good images to train from, and images to test on.

    Attributes:
        name: the name of its folder.
        root: its folder.
        layout: ``"mvtec"``, ``"btad"``, ``"visa"`` or ``"folder"``.
        train: good images, sorted.
        test: test images, sorted by path; empty where the layout has none.
    """

    name: str
    root: Path
    layout: str
    train: tuple[Path, ...]
    test: tuple[Sample, ...]


def list_categories(root: Path | str) -> list[str]:
    """List the categories of a data set.

    Args:
        root: the folder that holds one folder for each category.

    Returns:
        The names, sorted. Empty for a category's own folder and for a plain folder of images.

    Raises:
        InputError: no such folder.
    """
    folder = _existing_folder(root)
    if _layout(folder) != "folder":
        return []
    return sorted(
        child.name
        for child in folder.iterdir()
        if not child.name.startswith(".") and _layout(child) != "folder"
    )


def open_dataset(root: Path | str, category: str | None = None) -> Category:
    """Read one category of a data set; the layout is recognised by itself.

    ========  ===========================  ==========================  ===========================
    layout    good images to train from    test images                 masks
    ========  ===========================  ==========================  ===========================
    mvtec     ``train/good``               ``test/KIND``               ``ground_truth/KIND``
    btad      ``train/ok``                 ``test/ok``, ``test/ko``    ``ground_truth/ko``
    visa      ``Data/Images/Normal``       and ``Data/Images/Anomaly`` ``Data/Masks/Anomaly``
    folder    the folder itself            none                        none
    ========  ===========================  ==========================  ===========================

    A mask has its image's name, with or without ``_mask``, and any image suffix. VisA's split is
    ``split_csv/1cls.csv`` beside the categories. Without that file the last tenth of the normal
    images in sorted order is for testing, at least one if there are three or more.

    Args:
        root: the data set, one category's folder, or a plain folder of good images.
        category: which category, where the data set has several.

    Returns:
        The category. A folder without test images has an empty ``test``, one with test images only
        an empty ``train``.

    Raises:
        InputError: no such folder, no images, no such category, several categories and none
            named, a test image without its mask where masks exist, or a mask without its image.
    """
    folder = _choose_category(_existing_folder(root), category)
    layout = _layout(folder)
    if layout == "visa":
        train, test = _read_visa(folder)
    elif layout == "folder":
        train, test = list_images(folder), []
    else:
        good = folder / _GOOD_FOLDERS[layout]
        train = list_images(good) if good.is_dir() else []
        test = _read_test_folders(folder)
    if not train and not test:
        expected = _EXPECTED if layout == "folder" else "good images to train from"
        where = folder / _GOOD_FOLDERS.get(layout, ".")
        raise InputError(f"{where} holds no images where {expected} is expected; put them there")
    ordered = sorted(test, key=lambda sample: sample.path.relative_to(folder).as_posix())
    return Category(_name(folder), folder, layout, tuple(train), tuple(ordered))


def check_trainable(paths: Sequence[Path]) -> None:
    """Refuse fewer than two training images: the loss compares pairs of them.

    Raises:
        InputError: fewer than two paths.
    """
    if len(paths) < 2:
        given = f"only {paths[0]}" if paths else "no image"
        raise InputError(
            f"{given} was given to train from, but training compares pairs of good images and "
            "needs at least 2; add more images"
        )


def split_validation(
    paths: Sequence[Path], share: float, seed: int
) -> tuple[list[Path], list[Path]]:
    """Hold out some of the good images, at random, the same ones for the same seed.

    ``round(share · n)`` of ``n`` images are held out, at least 2 if ``share > 0``. Of fewer than
    10 images none is: with so few, every one is needed for training.

    Args:
        paths: the images, in any order.
        share: from 0 to 0.5.
        seed: 0 or more.

    Returns:
        The images to train from and those held out, both sorted.

    Raises:
        InputError: ``share`` or ``seed`` outside its range.
    """
    if not 0.0 <= share <= 0.5:
        raise InputError(
            f"the share of images to hold out is {share} where 0 to 0.5 is expected; give such a "
            "share"
        )
    if seed < 0:
        raise InputError(f"the seed is {seed} where 0 or more is expected; give such a seed")
    ordered = sorted(paths, key=lambda path: path.as_posix())
    count = max(2, round(share * len(ordered))) if share > 0.0 and len(ordered) >= 10 else 0
    chosen = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    train = [path for index, path in enumerate(ordered) if index not in chosen]
    return train, [ordered[index] for index in sorted(chosen)]


def _existing_folder(root: Path | str) -> Path:
    folder = Path(root)
    if not folder.exists():
        raise InputError(f"no such folder: {folder}; give the folder that holds the images")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file where a folder is expected; give the folder it is in")
    return folder


def _name(folder: Path) -> str:
    # Not resolve(): a link to a category has the name that it was given.
    return os.path.basename(os.path.abspath(folder))


def _layout(folder: Path) -> str:
    for layout, good in _GOOD_FOLDERS.items():
        if (folder / good).is_dir() or (folder / "test" / good.name).is_dir():
            return layout
    return "visa" if (folder / _VISA_GOOD_FOLDER).is_dir() else "folder"


def _choose_category(root: Path, category: str | None) -> Path:
    categories = list_categories(root)
    listed = ", ".join(categories)
    if category is None:
        if len(categories) > 1:
            raise InputError(
                f"{root} holds {len(categories)} categories ({listed}) where one is expected; say "
                "which by --category NAME"
            )
        return root / categories[0] if categories else root
    if category in categories:
        return root / category
    if categories:
        lowered = {name.lower(): name for name in categories}
        near = difflib.get_close_matches(category.lower(), lowered, n=1, cutoff=0.5)
        nearest = f"the nearest, {lowered[near[0]]}, or another" if near else "one"
        raise InputError(
            f"{root} holds no category {category!r}; by --category give {nearest} of: {listed}"
        )
    if category == _name(root):
        return root
    raise InputError(
        f"{root} is one category or a plain folder, category {category!r} was asked of it; leave "
        "--category out or give the folder above"
    )


def _read_test_folders(folder: Path) -> list[Sample]:
    tests = folder / "test"
    if not tests.is_dir():
        return []
    stray = list_images(tests)
    if stray:
        raise InputError(
            f"{stray[0]} lies outside the folders test/good and test/DEFECT that label test "
            "images; move it into one of them"
        )
    kinds = [child.name for child in tests.iterdir() if child.is_dir() and child.name[0] != "."]
    truth = folder / "ground_truth"
    if truth.is_dir():
        labelled = [child.name for child in truth.iterdir() if child.is_dir()]
        kinds += [kind for kind in labelled if kind not in kinds]
    samples: list[Sample] = []
    for kind in kinds:
        images = list_images(tests / kind) if (tests / kind).is_dir() else []
        if kind in _GOOD_NAMES:
            samples += [Sample(path, GOOD, False, None) for path in images]
        else:
            samples += _defective(images, kind, truth / kind if truth.is_dir() else None)
    return samples


def _defective(images: list[Path], kind: str, masks: Path | None) -> list[Sample]:
    if masks is None:
        return [Sample(path, kind, True, None) for path in images]
    by_stem = _masks_by_stem(images, masks)
    for path in images:
        if path.stem not in by_stem:
            raise InputError(
                f"{path} has no mask: {masks / path.stem}_mask.png or {path.stem}.png is expected "
                "there; add it, or remove the whole ground-truth folder to go without masks"
            )
    return [Sample(path, kind, True, by_stem[path.stem]) for path in images]


def _masks_by_stem(images: list[Path], masks: Path) -> dict[str, Path]:
    stems = {path.stem for path in images}
    matched: dict[str, Path] = {}
    for mask in list_images(masks) if masks.is_dir() else []:
        stem = mask.stem if mask.stem in stems else mask.stem.removesuffix("_mask")
        if stem not in stems:
            raise InputError(
                f"mask {mask} has a name that fits no test image: IMAGE_mask.png or IMAGE.png is "
                "expected; rename or remove it"
            )
        if stem in matched:
            raise InputError(
                f"{matched[stem]} and {mask} are masks of one test image, {stem}, where one is "
                "expected; remove one of them"
            )
        matched[stem] = mask
    return matched


def _read_visa(folder: Path) -> tuple[list[Path], list[Sample]]:
    table = folder.resolve().parent / "split_csv" / "1cls.csv"
    if table.is_file():
        return _read_visa_table(folder, table)
    normal = list_images(folder / _VISA_GOOD_FOLDER)
    held = max(1, len(normal) // 10) if len(normal) > 2 else 0
    kept = len(normal) - held
    test = [Sample(path, GOOD, False, None) for path in normal[kept:]]
    anomalies = folder / "Data" / "Images" / "Anomaly"
    masks = folder / "Data" / "Masks"
    if anomalies.is_dir():
        truth = masks / "Anomaly" if masks.is_dir() else None
        test += _defective(list_images(anomalies), "Anomaly", truth)
    return normal[:kept], test


def _read_visa_table(folder: Path, table: Path) -> tuple[list[Path], list[Sample]]:
    name = folder.resolve().name
    train: list[Path] = []
    test: list[Sample] = []
    for row in _table_rows(table):
        if row["object"] != name:
            continue
        path = _file_of_table(folder, row["image"], table)
        defective = path.parent.name != "Normal"
        if row["split"] == "test":
            mask = _file_of_table(folder, row["mask"], table) if row["mask"] else None
            if defective and mask is None and (folder / "Data" / "Masks").is_dir():
                raise InputError(f"{table} names no mask for {row['image']}; add it to its row")
            kind = path.parent.name if defective else GOOD
            test.append(Sample(path, kind, defective, mask if defective else None))
        elif row["split"] == "train" and not defective:
            train.append(path)
        else:
            raise InputError(
                f"{table} puts {row['image']} into the split {row['split']!r} where train (normal "
                "images only) or test is expected; correct its row"
            )
    if not train:
        raise InputError(
            f"{table} lists no training image of {name}; add its rows, or remove the file to "
            "test on the last tenth of the normal images"
        )
    return sorted(train, key=lambda path: path.as_posix()), test


def _table_rows(table: Path) -> list[dict[str, str]]:
    columns = {"object", "split", "image", "mask"}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{table} cannot be read as a table ({error}), CSV is expected; copy it again"
        ) from error
    if not columns <= set(reader.fieldnames or ()):
        raise InputError(
            f"{table} has the columns {reader.fieldnames} where object, split, label, image and "
            "mask are expected; copy it again"
        )
    return rows


def _file_of_table(folder: Path, name: str, table: Path) -> Path:
    # Names start with the category: seen from its own folder, that part is the folder itself.
    path = folder.joinpath(*Path(name).parts[1:])
    if not path.is_file():
        raise InputError(
            f"{table} names {name}, which does not exist; restore the file or remove its row"
        )
    return path

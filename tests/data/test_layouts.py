"""Layouts of data sets: recognised, read in one order, and refused."""

import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pyramidflow.data import (
    list_categories,
    open_dataset,
    read_image,
    read_mask,
)
from tests.support.image_files import put_image, put_mask, refused
from tests.support.layouts import left_out, names, put_btad, put_mvtec, put_visa, put_visa_table
from tests.support.places import SHARED_DATA


def described(samples, root):
    return [
        (
            sample.path.relative_to(root).as_posix(),
            sample.kind,
            sample.is_defective,
            sample.mask_path and sample.mask_path.relative_to(root).as_posix(),
        )
        for sample in samples
    ]


@pytest.fixture(params=["dataset", "category"])
def opened(request, tmp_path):
    """Open a category by the data set and its name, or by its own folder."""

    def open_by(folder):
        if request.param == "category":
            return open_dataset(folder)
        put_mvtec(tmp_path / "zipper")
        return open_dataset(tmp_path, folder.name)

    return open_by


def test_mvtec_layout(tmp_path, opened):
    root = put_mvtec(tmp_path / "bottle")
    category = opened(root)
    assert (category.name, category.root, category.layout) == ("bottle", root, "mvtec")
    assert names(category.train, root) == [f"train/good/00{index}.png" for index in range(3)]
    assert described(category.test, root) == [
        ("test/dent/000.jpg", "dent", True, "ground_truth/dent/000.bmp"),
        ("test/good/000.png", "good", False, None),
        ("test/scratch/000.png", "scratch", True, "ground_truth/scratch/000_mask.png"),
        ("test/scratch/001.png", "scratch", True, "ground_truth/scratch/001_mask.png"),
    ]


def test_btad_layout(tmp_path, opened):
    root = put_btad(tmp_path / "01")
    category = opened(root)
    assert (category.name, category.layout) == ("01", "btad")
    assert names(category.train, root) == ["train/ok/0000.bmp", "train/ok/0001.bmp"]
    assert described(category.test, root) == [
        ("test/ko/0003.bmp", "ko", True, "ground_truth/ko/0003.png"),
        ("test/ok/0002.bmp", "good", False, None),
    ]


def test_visa_layout_with_its_table(tmp_path, opened):
    root = put_visa(tmp_path / "candle", normal=4)
    rows = [
        ("train", "Normal/0003.JPG", ""),
        ("test", "Normal/0001.JPG", ""),
        ("train", "Normal/0000.JPG", ""),
        ("train", "Normal/0002.JPG", ""),
        ("test", "Anomaly/001.JPG", "Anomaly/001.png"),
        ("test", "Anomaly/000.JPG", "Anomaly/000.png"),
    ]
    put_visa_table(tmp_path, "candle", rows)
    category = opened(root)
    assert (category.name, category.layout) == ("candle", "visa")
    assert names(category.train, root / "Data/Images/Normal") == [
        "0000.JPG",
        "0002.JPG",
        "0003.JPG",
    ]
    assert described(category.test, root / "Data") == [
        ("Images/Anomaly/000.JPG", "Anomaly", True, "Masks/Anomaly/000.png"),
        ("Images/Anomaly/001.JPG", "Anomaly", True, "Masks/Anomaly/001.png"),
        ("Images/Normal/0001.JPG", "good", False, None),
    ]


@pytest.mark.parametrize(("normal", "held"), [(25, 2), (10, 1), (3, 1), (2, 0)])
def test_visa_layout_without_its_table_tests_on_the_last_tenth(tmp_path, opened, normal, held):
    root = put_visa(tmp_path / "candle", normal)
    category = opened(root)
    images = [f"{index:04}.JPG" for index in range(normal)]
    assert [path.name for path in category.train] == images[: normal - held]
    good = [sample.path.name for sample in category.test if not sample.is_defective]
    assert good == images[normal - held :]
    assert described(category.test, root / "Data")[:2] == [
        (f"Images/Anomaly/00{i}.JPG", "Anomaly", True, f"Masks/Anomaly/00{i}.png") for i in (0, 1)
    ]


def test_plain_folder_and_training_only_layouts(tmp_path):
    plain = tmp_path / "parts"
    put_image(plain / "b.png")
    put_image(plain / "a.jpg")
    put_image(plain / "sub" / "c.png")
    category = open_dataset(plain)
    assert (category.name, category.layout, category.test) == ("parts", "folder", ())
    assert left_out(category) == {"sub/c.png": "in a sub-folder"}
    assert names(category.train, plain) == ["a.jpg", "b.png"]
    put_image(tmp_path / "cap" / "train" / "good" / "a.png")
    category = open_dataset(tmp_path / "cap")
    assert (category.layout, len(category.train), category.test) == ("mvtec", 1, ())


@pytest.mark.parametrize(("put", "layout", "test"), [("mvtec", "mvtec", 4), ("btad", "btad", 2)])
def test_test_images_alone_are_a_category_too(tmp_path, put, layout, test):
    root = {"mvtec": put_mvtec, "btad": put_btad}[put](tmp_path / "cap")
    shutil.rmtree(root / "train")
    category = open_dataset(root)
    assert (category.layout, category.train, len(category.test)) == (layout, (), test)


def test_a_link_has_the_name_it_was_given(tmp_path):
    put_mvtec(tmp_path / "bottle")
    (tmp_path / "flask").symlink_to(tmp_path / "bottle")
    assert open_dataset(tmp_path / "flask").name == "flask"


def test_the_folder_in_use_has_its_own_name(tmp_path, monkeypatch):
    put_mvtec(tmp_path / "bottle")
    monkeypatch.chdir(tmp_path / "bottle")
    assert open_dataset(".").name == "bottle"
    assert open_dataset(".", "bottle").name == "bottle"


def test_categories_are_listed(tmp_path):
    put_mvtec(tmp_path / "screw")
    put_btad(tmp_path / "02")
    put_visa(tmp_path / "candle")
    put_image(tmp_path / "plain" / "a.png")
    put_mvtec(tmp_path / ".hidden")
    (tmp_path / "readme.txt").write_text("x")
    assert list_categories(tmp_path) == ["02", "candle", "screw"]
    put_mvtec(tmp_path / "screw" / "older")
    assert list_categories(tmp_path / "screw") == []
    assert list_categories(tmp_path / "plain") == []
    refused(lambda: list_categories(tmp_path / "no"), tmp_path / "no", "no such folder")


def test_the_only_category_needs_no_name(tmp_path):
    put_mvtec(tmp_path / "bottle")
    assert open_dataset(tmp_path).name == "bottle"


def test_labels_come_from_the_folder(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    empty = Image.fromarray(np.zeros((6, 5), np.uint8))
    empty.save(root / "ground_truth" / "dent" / "000.bmp")
    put_mask(root / "ground_truth" / "good" / "000_mask.png")
    kinds = {(sample.kind, sample.is_defective) for sample in open_dataset(root).test}
    assert kinds == {("dent", True), ("good", False), ("scratch", True)}


def test_defects_without_any_ground_truth_are_allowed(tmp_path):
    root = tmp_path / "bottle"
    put_image(root / "train" / "good" / "000.png")
    put_image(root / "test" / "dent" / "000.png")
    assert described(open_dataset(root).test, root) == [("test/dent/000.png", "dent", True, None)]


def test_several_categories_and_none_named(tmp_path):
    put_mvtec(tmp_path / "bottle")
    put_mvtec(tmp_path / "cable")
    refused(lambda: open_dataset(tmp_path), tmp_path, "bottle, cable", "--category NAME")


def test_a_misspelt_category(tmp_path):
    for name in ("bottle", "cable", "screw"):
        put_mvtec(tmp_path / name)
    given = lambda name: lambda: open_dataset(tmp_path, name)  # noqa: E731
    refused(given("Botle"), "'Botle'", "the nearest, bottle,", "bottle, cable, screw", "--category")
    refused(given("CABEL"), "'CABEL'", "the nearest, cable,")
    assert "nearest" not in refused(given("xyzzy"), "'xyzzy'", "bottle, cable, screw")
    inside = lambda: open_dataset(tmp_path / "screw", "bottle")  # noqa: E731
    refused(inside, tmp_path / "screw", "'bottle'", "leave --category out")


def test_missing_and_empty_data_sets(tmp_path):
    refused(lambda: open_dataset(tmp_path / "no"), tmp_path / "no", "no such folder", "give")
    file = put_image(tmp_path / "a.png")
    refused(lambda: open_dataset(file), file, "is a file", "give the folder")
    (tmp_path / "empty").mkdir()
    message = refused(lambda: open_dataset(tmp_path / "empty"), tmp_path / "empty", "no images")
    assert "CATEGORY/train/good" in message
    good = tmp_path / "bottle" / "train" / "good"
    good.mkdir(parents=True)
    refused(lambda: open_dataset(tmp_path / "bottle"), good, "no images", "put them there")
    (tmp_path / "candle" / "Data" / "Images" / "Normal").mkdir(parents=True)
    refused(lambda: open_dataset(tmp_path / "candle"), "candle", "no images", "put them there")


def test_a_test_image_outside_the_labelled_folders(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    stray = put_image(root / "test" / "007.png")
    refused(lambda: open_dataset(root), stray, "test/good", "move it")


def test_a_missing_mask_is_named(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    (root / "ground_truth" / "scratch" / "001_mask.png").unlink()
    image = root / "test" / "scratch" / "001.png"
    assert problems(root) == [
        (image, f"{image} has no mask: {root}/ground_truth/scratch/001_mask.png")
    ]
    root = put_visa(tmp_path / "candle")
    (root / "Data" / "Masks" / "Anomaly" / "000.png").unlink()
    [(image, sentence)] = problems(root)
    assert image == root / "Data/Images/Anomaly/000.JPG"
    assert sentence.startswith(f"{image} has no mask")


def problems(root):
    found = [sample for sample in open_dataset(root).test if sample.problem is not None]
    assert all(sample.mask_path is None and sample.is_defective for sample in found)
    return [(sample.path, sample.problem.partition(" or ")[0]) for sample in found]


@pytest.mark.parametrize("mask", ["scratch/007_mask.png", "hole/000_mask.png"])
def test_a_mask_that_fits_no_image_is_named(tmp_path, mask):
    root = put_mvtec(tmp_path / "bottle")
    path = put_mask(root / "ground_truth" / mask)
    refused(lambda: open_dataset(root), path, "fits no test image", "rename or remove")


def test_two_masks_of_one_image_are_named(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    path = put_mask(root / "ground_truth" / "scratch" / "000.png")
    refused(lambda: open_dataset(root), path, "000_mask.png", "remove one")


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        (("test", "Normal/9999.JPG", ""), ("Normal/9999.JPG", "does not exist", "restore")),
        (("test", "Anomaly/000.JPG", "Anomaly/9.png"), ("Anomaly/9.png", "does not exist")),
        (("test", "Anomaly/000.JPG", ""), ("no mask", "Anomaly/000.JPG", "add it")),
        (("train", "Anomaly/000.JPG", ""), ("'train'", "Anomaly/000.JPG", "correct its row")),
        (("val", "Normal/0000.JPG", ""), ("'val'", "train", "test", "correct its row")),
    ],
)
def test_a_wrong_row_of_the_visa_table_is_named(tmp_path, row, fragments):
    root = put_visa(tmp_path / "candle", 3)
    table = put_visa_table(tmp_path, "candle", [("train", "Normal/0001.JPG", ""), row])
    refused(lambda: open_dataset(root), table, *fragments)


def test_an_unusable_visa_table_is_named(tmp_path):
    root = put_visa(tmp_path / "candle", 3)
    table = put_visa_table(tmp_path, "candle", [])
    refused(lambda: open_dataset(root), table, "no training image of candle", "add its rows")
    table.write_text("name,file\nx,y\n")
    refused(lambda: open_dataset(root), table, "name", "object, split", "copy it again")
    table.write_bytes(b"\xff\xfe\x80\x81")
    refused(lambda: open_dataset(root), table, "cannot be read", "copy it again")


@pytest.mark.skipif(
    not (SHARED_DATA / "magnetic_tile").is_dir(),
    reason="the magnetic tile images are not beside the project in shared/data/magnetic_tile",
)
def test_magnetic_tiles():
    category = open_dataset(SHARED_DATA, "magnetic_tile")
    kinds = Counter(sample.kind for sample in category.test)
    assert len(category.train) == 240
    assert kinds == {
        "good": 60,
        "blowhole": 30,
        "break": 25,
        "crack": 20,
        "fray": 12,
        "uneven": 25,
    }
    shown = 0
    for sample in category.test:
        assert sample.is_defective == (sample.kind != "good")
        assert (sample.mask_path is None) == (sample.kind == "good")
        if sample.mask_path is not None:
            height, width, _ = read_image(sample.path).shape
            mask = read_mask(sample.mask_path, (height, width))
            shown += mask.any()
    # The masks of uneven/005, 013 and 021 are empty: those tiles are defective all the same.
    assert shown == 109

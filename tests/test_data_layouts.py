"""Layouts of data sets: recognised, read in one order, and refused."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from image_files import put_image, put_mask, refused
from PIL import Image

from pyramidflow.data import (
    list_categories,
    open_dataset,
    read_image,
    read_mask,
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def put_mvtec(root):
    for name in ("002.png", "000.png", "001.png"):
        put_image(root / "train" / "good" / name)
    put_image(root / "test" / "good" / "000.png")
    for index in ("000", "001"):
        put_image(root / "test" / "scratch" / f"{index}.png")
        put_mask(root / "ground_truth" / "scratch" / f"{index}_mask.png")
    put_image(root / "test" / "dent" / "000.jpg")
    put_mask(root / "ground_truth" / "dent" / "000.bmp")
    return root


def put_btad(root):
    for name in ("0001.bmp", "0000.bmp"):
        put_image(root / "train" / "ok" / name)
    put_image(root / "test" / "ok" / "0002.bmp")
    put_image(root / "test" / "ko" / "0003.bmp")
    put_mask(root / "ground_truth" / "ko" / "0003.png")
    return root


def put_visa(root, normal=25):
    for index in range(normal):
        put_image(root / "Data" / "Images" / "Normal" / f"{index:04}.JPG")
    for index in range(2):
        put_image(root / "Data" / "Images" / "Anomaly" / f"{index:03}.JPG")
        put_mask(root / "Data" / "Masks" / "Anomaly" / f"{index:03}.png")
    return root


def put_visa_table(root, category, rows):
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir(exist_ok=True)
    lines = ["object,split,label,image,mask", "other,train,normal,other/Data/Images/Normal/0.JPG,"]
    for split, image, mask in rows:
        label = "normal" if "Normal" in image else "anomaly"
        images = f"{category}/Data/Images/{image}"
        masks = f"{category}/Data/Masks/{mask}" if mask else ""
        lines.append(f"{category},{split},{label},{images},{masks}")
    table.write_text("\n".join(lines) + "\n")
    return table


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


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
    refused(lambda: open_dataset(root), image, "no mask", "001_mask.png", "add it")
    root = put_visa(tmp_path / "candle")
    (root / "Data" / "Masks" / "Anomaly" / "000.png").unlink()
    refused(lambda: open_dataset(root), root / "Data/Images/Anomaly/000.JPG", "no mask", "add it")


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


# names of folders


@pytest.mark.parametrize("train", ["Good", "OK", "normal", "NORMAL"])
@pytest.mark.parametrize("test", ["good", "Good", "GOOD", "OK", "Normal"])
def test_good_folders_count_in_any_case(tmp_path, train, test):
    root = tmp_path / "cap"
    put_image(root / "Train" / train / "a.png")
    put_image(root / "TEST" / test / "b.png")
    put_image(root / "TEST" / "Dent" / "c.png")
    put_mask(root / "Ground_Truth" / "dent" / "c.png")
    assert list_categories(tmp_path) == ["cap"]
    category = open_dataset(root)
    assert names(category.train, root / "Train") == [f"{train}/a.png"]
    kinds = {sample.path.name: sample for sample in category.test}
    assert (kinds["b.png"].kind, kinds["b.png"].is_defective) == ("good", False)
    assert (kinds["c.png"].kind, kinds["c.png"].is_defective) == ("Dent", True)
    assert kinds["c.png"].mask_path == root / "Ground_Truth" / "dent" / "c.png"
    assert (category.left_out, category.remarks) == ((), ())


@pytest.mark.parametrize(
    "name", ["goods", "good_2", "gooood", "ok2", "okay", "defect-free", "no_defect", "i.O."]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_name_near_to_good_is_refused(tmp_path, name, part):
    root = put_mvtec(tmp_path / "cap")
    put_image(root / part / name / "a.png")
    refused(lambda: open_dataset(root), root / part / name, "good, ok or normal", "rename it")
    shutil.rmtree(root / part / "good")
    refused(lambda: open_dataset(root), root / part / name, "good, ok or normal", "rename it")


@pytest.mark.parametrize(
    "name",
    ["not_good", "nok", "ng", "n.i.O.", "abnormal", "no_good", "ungood", "ko", "bad", "hole"],
)
def test_names_of_defects_are_not_near_to_good(tmp_path, name):
    root = put_mvtec(tmp_path / "cap")
    shutil.rmtree(root / "ground_truth")
    put_image(root / "test" / name / "a.png")
    assert {sample.kind for sample in open_dataset(root).test} == {"good", "dent", "scratch", name}


def test_folders_that_differ_in_case_alone_are_refused(tmp_path):
    root = put_mvtec(tmp_path / "cap")
    put_image(root / "Test" / "good" / "a.png")
    refused(lambda: open_dataset(root), root / "test", root / "Test", "case", "join them")


@pytest.mark.parametrize("name", ["groundtruth", "Ground-Truth", "masks", "Mask", "gt"])
def test_masks_under_another_name_are_said(tmp_path, name):
    root = put_mvtec(tmp_path / "cap")
    (root / "ground_truth").rename(root / name)
    category = open_dataset(root)
    assert all(sample.mask_path is None for sample in category.test)
    (remark,) = category.remarks
    for fragment in ("no masks were found", root / "ground_truth", root / name, "rename it"):
        assert str(fragment) in remark


def test_visa_masks_under_another_name_are_said(tmp_path):
    root = put_visa(tmp_path / "candle", 4)
    (root / "Data" / "Masks").rename(root / "Data" / "ground_truth")
    (remark,) = open_dataset(root).remarks
    assert "no masks were found" in remark
    assert str(root / "Data" / "ground_truth") in remark


def test_visa_folders_count_in_any_case(tmp_path):
    root = put_visa(tmp_path / "candle", 4)
    (root / "Data" / "Images").rename(root / "Data" / "images")
    (root / "Data" / "images" / "Normal").rename(root / "Data" / "images" / "normal")
    (root / "Data" / "Masks").rename(root / "Data" / "masks")
    category = open_dataset(root)
    assert (category.layout, len(category.train), len(category.test)) == ("visa", 3, 3)
    assert sum(sample.mask_path is not None for sample in category.test) == 2
    put_image(root / "Data" / "images" / "goods" / "a.png")
    refused(lambda: open_dataset(root), "goods", "rename it")


def test_masks_among_test_images_are_refused(tmp_path):
    root = put_mvtec(tmp_path / "cap")
    path = put_mask(root / "test" / "masks" / "a.png")
    refused(lambda: open_dataset(root), path.parent, root / "ground_truth", "move it")
    shutil.rmtree(path.parent)
    shutil.rmtree(root / "ground_truth")
    path = put_mask(root / "test" / "scratch" / "000_mask.png")
    refused(lambda: open_dataset(root), path, "looks like a mask", "move it")


def test_a_test_folder_without_good_images_is_said(tmp_path):
    root = put_mvtec(tmp_path / "cap")
    shutil.rmtree(root / "test" / "good")
    (remark,) = open_dataset(root).remarks
    assert "no good images" in remark
    assert str(root / "test") in remark


# what is left out


def left_out(category):
    root = category.root
    return {item.path.relative_to(root).as_posix(): item.reason for item in category.left_out}


def test_what_a_category_leaves_out_is_counted(tmp_path):
    root = put_mvtec(tmp_path / "cap")
    put_image(root / "train" / "good" / "later" / "a.png")
    put_image(root / "train" / "bad" / "a.png")
    put_image(root / "train" / "a.png")
    put_image(root / "test" / "dent" / "more" / "b.png")
    (root / "test" / "good" / "c.heic").write_bytes(b"x")
    (root / "train" / "good" / "linked").symlink_to(root / "test" / "good")
    category = open_dataset(root)
    assert left_out(category) == {
        "train/good/later/a.png": "in a sub-folder",
        "train/bad": "folder of no known name",
        "train/a.png": "not in a folder of good images",
        "test/dent/more/b.png": "in a sub-folder",
        "test/good/c.heic": "ending .heic is not read",
        "train/good/linked": "linked folder",
    }
    paths = [item.path.relative_to(root).as_posix() for item in category.left_out]
    assert paths == sorted(paths)


def test_what_visa_leaves_out_is_counted(tmp_path):
    root = put_visa(tmp_path / "candle", 4)
    put_image(root / "Data" / "Images" / "Unsure" / "a.png")
    put_image(root / "Data" / "Images" / "Normal" / "more" / "a.png")
    assert left_out(open_dataset(root)) == {
        "Data/Images/Unsure": "folder of no known name",
        "Data/Images/Normal/more/a.png": "in a sub-folder",
    }


def test_images_beside_the_only_category_are_said(tmp_path):
    put_mvtec(tmp_path / "bottle")
    put_image(tmp_path / "a.png")
    (remark,) = open_dataset(tmp_path).remarks
    for fragment in ("1 images directly in", str(tmp_path), "bottle"):
        assert fragment in remark
    assert open_dataset(tmp_path, "bottle").remarks == ()


def test_a_folder_of_folders_says_where_its_images_are(tmp_path):
    put_image(tmp_path / "parts" / "monday" / "a.png")
    put_image(tmp_path / "parts" / "tuesday" / "a.png")
    refused(lambda: open_dataset(tmp_path / "parts"), "no images", "2 images lie in sub-folders")


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

"""Names of folders in data sets: known in any case, refused when near, and what is left out."""

import os
import shutil

import pytest

from pyramidflow.data import list_categories, open_dataset
from tests.support.image_files import put_image, put_mask, refused
from tests.support.layouts import left_out, names, put_mvtec, put_visa

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


def test_a_folder_of_many_images_is_recognised_without_a_question_for_each(tmp_path, monkeypatch):
    for index in range(50):
        (tmp_path / f"{index}.png").write_bytes(b"x")
    asked = []
    stat = os.stat

    def counting(path, *args, **kwargs):
        asked.append(path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", counting)
    assert len(open_dataset(tmp_path).train) == 50
    assert len(asked) < 20


# what is left out


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

"""Image sets: read on demand, kept within a budget, stacked."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow.data import (
    Decoding,
    ImageSet,
    check_readable,
    imageset,
    read_image,
    resize_image,
    stack,
)
from tests.support.image_files import put_deep_png, put_image, random_pixels, refused


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, in order."""
    seen = []

    def counting(path, decoding):
        seen.append(path.name)
        return read_image(path, decoding)

    monkeypatch.setattr(imageset, "read_image", counting)
    return seen


def test_an_image_set_reads_and_resizes(tmp_path):
    pixels = random_pixels((20, 30, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    deep = random_pixels((7, 5, 3), np.uint16)
    put_deep_png(tmp_path / "b.png", deep)
    images = ImageSet([tmp_path / "a.png", tmp_path / "b.png"], 8)
    assert len(images) == 2
    np.testing.assert_array_equal(images[0], resize_image(pixels, 8))
    np.testing.assert_array_equal(images[1], resize_image(deep, 8))
    assert images[1].dtype == np.uint16
    assert ImageSet([tmp_path / "a.png"], (4, 6))[0].shape == (4, 6, 3)
    assert [image.shape for image in images] == [(8, 8, 3), (8, 8, 3)]


def test_images_are_kept_within_the_budget(tmp_path, decoded):
    paths = [put_image(tmp_path / f"{index}.png", index) for index in range(3)]
    bytes_each = 4 * 4 * 3
    images = ImageSet(paths, 4, cache_bytes=2 * bytes_each)
    for _ in range(3):
        assert [int(images[index][0, 0, 0]) for index in range(3)] == [0, 1, 2]
    assert decoded == ["0.png", "1.png", "2.png", "2.png", "2.png"]


def test_nothing_is_kept_without_a_budget(tmp_path, decoded):
    images = ImageSet([put_image(tmp_path / "a.png")], 4, cache_bytes=0)
    assert np.array_equal(images[0], images[0])
    assert decoded == ["a.png", "a.png"]


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_images_of_a_set_cannot_be_written_to(tmp_path, cache_bytes):
    images = ImageSet([put_image(tmp_path / "a.png")], 4, cache_bytes)
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0, 0] = 1


def test_a_damaged_image_is_refused_when_it_is_asked_for(tmp_path):
    (tmp_path / "bad.png").write_text("text")
    images = ImageSet([put_image(tmp_path / "a.png"), tmp_path / "bad.png"], 4)
    assert images[0].shape == (4, 4, 3)
    refused(lambda: images[1], "bad.png", "not an image")


@pytest.mark.filterwarnings("error")
def test_stack_makes_a_batch(tmp_path):
    path = put_image(tmp_path / "a.png", 7)
    image = ImageSet([path], 4)[0]
    batch = stack([image, image])
    assert batch.dtype == torch.uint8
    assert batch.shape == (2, 4, 4, 3)
    batch.zero_()
    assert image.min() == 7


def test_stack_promotes_8_bits_to_16():
    eight = np.array([0, 1, 255], np.uint8).reshape(1, 1, 3)
    sixteen = np.array([5, 300, 65535], np.uint16).reshape(1, 1, 3)
    batch = stack([eight, sixteen])
    assert batch.dtype == torch.uint16
    assert batch.flatten().tolist() == [0, 257, 65535, 5, 300, 65535]


def test_stack_refuses_nothing_and_different_sizes():
    refused(lambda: stack([]), "none", "one shape", "resize")
    small, large = random_pixels((2, 2, 3)), random_pixels((2, 4, 3))
    refused(lambda: stack([small, large]), "[2, 2, 3]", "[2, 4, 3]", "resize")


def test_a_check_finds_all_damaged_files_and_decodes_nothing_twice(tmp_path, decoded):
    paths = [put_image(tmp_path / f"{index:02}.png", index) for index in range(20)]
    for index in (3, 11):
        data = paths[index].read_bytes()
        paths[index].write_bytes(data[: len(data) - 20])
    paths[7].unlink()
    images = ImageSet(paths, 4)
    bad = images.check()
    assert [path for path, _ in bad] == [paths[3], paths[7], paths[11]]
    for path, error in bad:
        assert str(path) in str(error)
    assert sorted(decoded) == [path.name for path in paths]
    whole = [index for index in range(20) if index not in (3, 7, 11)]
    assert [int(images[index][0, 0, 0]) for index in whole] == whole
    assert len(decoded) == 20


def test_a_check_keeps_what_fits(tmp_path, decoded):
    paths = [put_image(tmp_path / f"{index}.png", index) for index in range(3)]
    images = ImageSet([*paths, paths[0]], 4, cache_bytes=2 * 4 * 4 * 3)
    assert images.check() == []
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]
    assert [int(image[0, 0, 0]) for image in images] == [0, 1, 2, 0]
    assert len(decoded) == 4


@pytest.mark.parametrize("cut", [10, 200])
def test_a_cut_jpeg_is_found(tmp_path, cut):
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    for path in (good, bad):
        Image.fromarray(random_pixels((40, 50, 3))).save(path)
    bad.write_bytes(bad.read_bytes()[:-cut])
    ((path, error),) = check_readable([good, bad])
    assert path == bad
    assert "complete image" in str(error)


def test_a_check_reads_as_it_is_told(tmp_path):
    path = put_image(tmp_path / "a.png", size=(6, 5))
    assert check_readable([path], Decoding(max_pixels=30)) == []
    ((_, error),) = check_readable([path], Decoding(max_pixels=29))
    assert "--max-megapixels" in str(error)
    ((_, again),) = ImageSet([path], 4, decoding=Decoding(max_pixels=29)).check()
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("brightest", "white"),
    [(900, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (16383, 16383), (16384, None)],
)
def test_a_dark_set_of_16_bits_is_said(tmp_path, brightest, white):
    paths = [tmp_path / f"{index}.png" for index in range(2)]
    for path, value in zip(paths, (brightest // 2, brightest), strict=True):
        pixels = np.zeros((9, 9, 3), np.uint16)
        pixels[4, 4] = value
        put_deep_png(path, pixels)
    paths.append(put_image(tmp_path / "eight.png", 255, (9, 9)))
    images = ImageSet(paths, 2)
    images.check()
    said = images.looks_dark()
    if white is None:
        assert said is None
    else:
        for fragment in (f"passes {white} of 65535", f"--white-level {white}"):
            assert fragment in said
        assert f"{ {1023: 10, 4095: 12, 16383: 14}[white] } bits" in said
        known = ImageSet(paths, 2, decoding=Decoding(white_level=white))
        known.check()
        assert known.looks_dark() is None


def test_8_bits_never_look_dark(tmp_path):
    images = ImageSet([put_image(tmp_path / "a.png", 1)], 2)
    assert images.check() == []
    assert images.looks_dark() is None


def test_a_check_can_be_interrupted(tmp_path, monkeypatch):
    paths = [put_image(tmp_path / f"{index}.png") for index in range(100)]
    seen = []

    def stopping(path, decoding):
        seen.append(path)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return read_image(path, decoding)

    monkeypatch.setattr(imageset, "read_image", stopping)
    with pytest.raises(KeyboardInterrupt):
        ImageSet(paths, 4).check()
    assert len(seen) < 60


@pytest.mark.parametrize("budget", [0, 2, 7])
def test_batches_in_turn_are_what_indexing_gives(tmp_path, decoded, budget):
    paths = [put_image(tmp_path / f"{index}.png", index) for index in range(7)]
    paths.append(paths[2])  # the same file twice
    images = ImageSet(paths, 4, cache_bytes=budget * 4 * 4 * 3)
    assert images.check() == []
    decoded.clear()
    order = [[5, 2], [7, 0], [1], [], [6, 3, 4, 2]]
    found = [[int(image[0, 0, 0]) for image in batch] for batch in images.in_turn(order)]
    assert found == [[5, 2], [2, 0], [1], [], [6, 3, 4, 2]]
    kept = {f"{index}.png" for index in range(budget)}
    files = [paths[index].name for batch in order for index in batch]
    assert sorted(decoded) == sorted(name for name in files if name not in kept)
    (first,) = images.in_turn([[1]])
    with pytest.raises(ValueError, match="read-only"):
        first[0][:] = 0


def test_few_images_are_decoded_ahead(tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(imageset, "usable_processors", lambda: 2)
    paths = [put_image(tmp_path / f"{index:02}.png", index) for index in range(40)]
    images = ImageSet(paths, 4, cache_bytes=0)
    turn = images.in_turn([[index] for index in range(40)])
    for index in range(10):
        assert int(next(turn)[0][0, 0, 0]) == index
        assert len(decoded) <= index + 1 + 4
    turn.close()
    assert len(decoded) <= 14


def test_nothing_is_decoded_ahead_where_all_is_kept(tmp_path, decoded):
    images = ImageSet([put_image(tmp_path / f"{index}.png", index) for index in range(3)], 4)
    images.check()
    decoded.clear()
    threads = threading.active_count()
    for batch in images.in_turn([[0, 1], [2]]):
        assert threading.active_count() == threads
        assert len(batch) > 0
    assert decoded == []


def test_a_file_that_went_bad_is_refused_in_its_turn(tmp_path):
    paths = [put_image(tmp_path / f"{index}.png", index) for index in range(4)]
    images = ImageSet(paths, 4, cache_bytes=0)
    paths[2].write_bytes(b"no picture")
    turn = images.in_turn([[0], [1], [2], [3]])
    assert [int(next(turn)[0][0, 0, 0]) for _ in range(2)] == [0, 1]
    refused(lambda: next(turn), paths[2].name)
    with pytest.raises(IndexError):
        next(images.in_turn([[0], [4]]))


def test_the_package_loads_without_this_room():
    code = "import sys, pyramidflow; assert 'pyramidflow.data' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()

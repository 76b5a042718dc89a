from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyramidflow.demo import textures
from pyramidflow.demo.textures import (
    DEFECT_KINDS,
    TEXTURES,
    VISIBLE_CHANGE,
    make_texture_set,
    paint_defect,
    random_crop,
)
from pyramidflow.errors import InputError

SIZE = 48
COUNTS = {"train": 3, "good": 2, "defective_per_kind": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_texture_set(
        tmp_path_factory.mktemp("set") / "brick", seed=7, image_size=SIZE, **COUNTS
    )


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))
    }


def test_layout_is_that_of_mvtec_ad(root):
    expected = {f"train/good/{n:03d}.png" for n in range(3)}
    expected |= {f"test/good/{n:03d}.png" for n in range(2)}
    for kind in ("scratch", "spot", "stain", "hole"):
        expected |= {f"test/{kind}/{n:03d}.png" for n in range(2)}
        expected |= {f"ground_truth/{kind}/{n:03d}_mask.png" for n in range(2)}
    assert set(contents(root)) == expected
    for name in expected:
        pixels = read(root / name)
        if "mask" in name:
            assert pixels.shape == (SIZE, SIZE)
            assert set(np.unique(pixels)) == {0, 255}
        else:
            assert pixels.shape == (SIZE, SIZE, 3)
            assert pixels.std() > 5


def test_same_seed_gives_the_same_bytes_and_another_seed_other_pictures(root, tmp_path):
    again = make_texture_set(tmp_path / "again", seed=7, image_size=SIZE, **COUNTS)
    other = make_texture_set(tmp_path / "other", seed=8, image_size=SIZE, **COUNTS)
    assert contents(again) == contents(root)
    ours, theirs = contents(root), contents(other)
    assert all(ours[name] != theirs[name] for name in ours)


def test_asking_for_more_leaves_the_other_images_as_they_were(root, tmp_path):
    more = make_texture_set(
        tmp_path / "more", seed=7, image_size=SIZE, train=5, good=3, defective_per_kind=2
    )
    ours, theirs = contents(root), contents(more)
    assert {name: theirs[name] for name in ours} == ours


def test_every_image_is_different(root):
    pictures = [data for name, data in contents(root).items() if "mask" not in name]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize("side", ["train", "test"])
def test_train_and_test_crops_come_from_different_halves(side, monkeypatch, tmp_path):
    # One half of a marked photograph is black, so a crop that reaches into it holds black pixels.
    photograph = np.full((512, 512), 160, np.uint8)
    photograph[:, slice(256, None) if side == "train" else slice(0, 256)] = 0
    monkeypatch.setattr(textures, "_load_photograph", lambda texture: photograph)
    made = make_texture_set(
        tmp_path / "set", seed=0, image_size=128, train=12, good=12, defective_per_kind=0
    )
    for path in made.rglob("*.png"):
        lit = read(path) > 80
        assert lit.all() if path.relative_to(made).parts[0] == side else not lit.any()


def test_good_images_are_never_equal_across_train_and_test(root):
    train = [read(path).astype(int) for path in (root / "train/good").iterdir()]
    test = [read(path).astype(int) for path in (root / "test/good").iterdir()]
    for one in train:
        for other in test:
            views = [other, other[::-1], other[:, ::-1], other[::-1, ::-1]]
            assert min(np.abs(one - view).mean() for view in views) > 5


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("kind", ["scratch", "spot", "stain", "hole"])
def test_mask_is_exactly_the_changed_pixels(texture, kind):
    region = textures._load_photograph(texture)[:, 256:]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image = random_crop(region, 64, rng)
        before = image.copy()
        damaged, mask = paint_defect(image, kind, rng)
        np.testing.assert_array_equal(image, before)
        change = np.abs(damaged.astype(int) - before.astype(int)).max(axis=2)
        np.testing.assert_array_equal(mask, change > VISIBLE_CHANGE)
        assert change[~mask].max() <= VISIBLE_CHANGE
        assert 0.001 < mask.mean() < 0.15
        assert np.percentile(change[mask], 90) > 3 * VISIBLE_CHANGE


def test_written_mask_marks_the_painted_pixels(monkeypatch, tmp_path):
    painted = {}

    def remember(image, kind, rng):
        damaged, mask = paint_defect(image, kind, rng)
        painted.setdefault(kind, []).append((image, damaged))
        return damaged, mask

    monkeypatch.setattr(textures, "paint_defect", remember)
    made = make_texture_set(
        tmp_path / "set", seed=1, image_size=SIZE, train=1, good=0, defective_per_kind=2
    )
    assert set(painted) == set(DEFECT_KINDS)
    for kind, pairs in painted.items():
        for number, (good, damaged) in enumerate(pairs):
            np.testing.assert_array_equal(read(made / f"test/{kind}/{number:03d}.png"), damaged)
            mask = read(made / f"ground_truth/{kind}/{number:03d}_mask.png") > 0
            change = np.abs(damaged.astype(int) - good.astype(int)).max(axis=2)
            assert mask.sum() == (change > VISIBLE_CHANGE).sum() > 0


def test_photographs_need_no_network(monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for texture in TEXTURES:
        assert textures._load_photograph(texture).shape == (512, 512)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 16}, "image_size is 16"),
        ({"train": 0}, "train is 0"),
        ({"good": -1}, "good is -1"),
        ({"defective_per_kind": -1}, "defective_per_kind is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"texture": "velvet"}, "velvet"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_written(change, words, tmp_path):
    with pytest.raises(InputError, match=words):
        make_texture_set(tmp_path / "set", **({"seed": 0, "image_size": SIZE, **COUNTS} | change))
    assert not (tmp_path / "set").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        make_texture_set(tmp_path, seed=0, image_size=SIZE, **COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_paint_defect_refuses_what_it_cannot_paint():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="dent"):
        paint_defect(np.zeros((64, 64, 3), np.uint8), "dent", rng)
    with pytest.raises(InputError, match=r"\[64, 48, 3\]"):
        paint_defect(np.zeros((64, 48, 3), np.uint8), "spot", rng)
    with pytest.raises(InputError, match="float32"):
        paint_defect(np.zeros((64, 64, 3), np.float32), "spot", rng)

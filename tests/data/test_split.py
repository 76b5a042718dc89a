"""The split of good images into those to train from and those held out."""

import math
from pathlib import Path

import pytest

from pyramidflow.data import check_trainable, split_validation
from tests.support.image_files import refused


def test_training_needs_a_pair():
    refused(lambda: check_trainable([]), "no image", "pairs", "add more")
    refused(lambda: check_trainable([Path("a.png")]), "a.png", "at least 2", "add more")
    check_trainable([Path("a.png"), Path("b.png")])


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(100, 0.1, 10), (10, 0.05, 2), (10, 0.5, 5), (9, 0.5, 0), (50, 0.0, 0), (24, 0.1, 2)],
)
def test_held_out_images_are_counted_disjoint_and_sorted(count, share, held):
    paths = [Path(f"{index:03}.png") for index in range(count)]
    train, validation = split_validation(paths[::-1], share, seed=3)
    assert len(validation) == held
    assert sorted(train + validation) == paths
    assert train == sorted(train)
    assert validation == sorted(validation)


def test_held_out_images_depend_on_the_seed_alone():
    paths = [Path(f"{index:03}.png") for index in range(60)]
    first = split_validation(paths, 0.2, seed=1)
    assert split_validation(paths[::-1], 0.2, seed=1) == first
    assert split_validation(paths, 0.2, seed=2) != first


@pytest.mark.parametrize("share", [-0.1, 0.51, math.nan])
def test_a_share_outside_its_range_is_refused(share):
    refused(lambda: split_validation([], share, 0), str(share), "0 to 0.5", "give")


def test_a_negative_seed_is_refused():
    refused(lambda: split_validation([], 0.1, -1), "-1", "0 or more", "give")

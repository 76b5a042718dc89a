"""What blocks read and write: the paper's stacks, and what cannot be inverted."""

import pytest

from pyramidflow.model.topology import BlockTopology, blocks, dual, stack


def test_stack_follows_the_paper():
    assert [str(block) for block in stack(2)] == ["down 0 → 1", "up 1 → 0"]
    four = ["dual 0, 2 → 1", "down 2 → 3", "up 1 → 0", "dual 1, 3 → 2"]
    assert [str(block) for block in stack(4)] == four
    five = ["dual 0, 2 → 1", "dual 2, 4 → 3", "up 1 → 0", "dual 1, 3 → 2", "down 3 → 4"]
    assert [str(block) for block in stack(5)] == five
    assert all(len(stack(levels)) == levels for levels in range(2, 12))
    assert [str(block) for block in blocks(4, 2)] == 2 * four


@pytest.mark.parametrize("levels", range(2, 7))
def test_every_level_is_transformed_and_stays_within_the_pyramid(levels):
    found = stack(levels)
    assert {block.writes for block in found} == set(range(levels))
    assert all(0 <= level < levels for block in found for level in (*block.reads, block.at))


def test_resizings_of_a_dual_block():
    block = dual(3)
    assert block.resizes == (-1, 1)
    assert (block.condition_resample, block.params_resample) == ("none", "none")


@pytest.mark.parametrize(
    ("reads", "at", "writes", "words"),
    [
        ((0, 1), 1, 1, "reads what it writes"),
        ((0,), 2, 2, "resized by 2 at most"),
        ((0,), 0, 2, "resized by 2 at most"),
        ((1,), 1, 0, "resized by 2 at most"),
    ],
)
def test_impossible_blocks_are_refused(reads, at, writes, words):
    with pytest.raises(ValueError, match=words):
        BlockTopology("odd", reads, at, writes)

"""Which good images train, and which are held out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def check_trainable(paths: Sequence[Path]) -> None:
    """Refuse fewer than two training images: the loss compares pairs of them.

    Raises:
        InputError: fewer than two paths.
    """
    if len(paths) < 2:
        given = f"only {printable(paths[0])}" if paths else "no image"
        raise InputError(
            f"{given} was given to train from: training compares pairs of good images and needs at "
            "least 2; add more images."
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
            f"the share of images to hold out is {share}: 0 to 0.5 is expected; give such a share."
        )
    if seed < 0:
        raise InputError(f"the seed is {seed}: 0 or more is expected; give such a seed.")
    ordered = sorted(paths, key=lambda path: path.as_posix())
    count = max(2, round(share * len(ordered))) if share > 0.0 and len(ordered) >= 10 else 0
    chosen = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    train = [path for index, path in enumerate(ordered) if index not in chosen]
    return train, [ordered[index] for index in sorted(chosen)]

"""The images of a training: told apart from those held out, and brought to one pose if asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pyramidflow.alignment import AlignedSet, Aligner, Reference, learned
from pyramidflow.data import ImageSet, Reading
from pyramidflow.errors import InputError
from pyramidflow.spec import ImageSize, Spec
from pyramidflow.training.contents import read_all
from pyramidflow.training.progress import SilentProgress


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """What a training sees.

    Attributes:
        images: to train on.
        held_out: good images beside them.
        reference: that both are aligned with; ``None`` where they are as they lie.
        unplaced: images whose part has no pose; they are in neither.
    """

    images: ImageSet
    held_out: ImageSet
    reference: Reference | None = None
    unplaced: tuple[Path, ...] = ()


def training_images(
    spec: Spec,
    training: Sequence[Path],
    held_out: Sequence[Path],
    reading: Reading,
    sizes: Sequence[ImageSize],
) -> TrainingImages:
    """The images of a training, aligned where the spec asks for it.

    Args:
        spec: every setting.
        training: files to train on.
        held_out: files beside them.
        reading: how they are read.
        sizes: height and width of some of the images, before they are resized.

    Raises:
        InputError: a file cannot be read, or the images have no pose in common.
    """
    if spec.alignment.align == "none":
        return TrainingImages(reading.images(training), reading.images(held_out))
    lying = reading.images(training)
    read_all(lying, SilentProgress())
    found = learned(lying, spec.alignment, ratio_of(sizes))
    aligner = Aligner(found.reference, spec.alignment)
    poses = dict(zip(lying.paths, found.found, strict=True))
    others = reading.images(held_out)
    read_all(others, SilentProgress())
    poses |= {path: aligner.found_in(others[i]) for i, path in enumerate(others.paths)}

    def aligned(paths: Sequence[Path]) -> AlignedSet:
        placed = [path for path in paths if found.reference.fits(poses[path])]
        memory = (reading.cache_bytes, reading.decoding)
        return AlignedSet(placed, reading.size, aligner, poses, *memory)

    images = aligned(training)
    if len(images) < 2:
        raise InputError(
            f"of {len(training)} training images {len(images)} show a part in a pose that fits the "
            "others: at least 2 are expected; train with align none, or remove what is no part."
        )
    unplaced = [path for path, each in poses.items() if not found.reference.fits(each)]
    return TrainingImages(images, aligned(held_out), found.reference, tuple(unplaced))


def ratio_of(sizes: Sequence[ImageSize]) -> float:
    """Median height over width of images."""
    return median(height / width for height, width in sizes) if sizes else 1.0

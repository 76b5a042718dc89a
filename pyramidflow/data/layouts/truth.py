"""Masks found for test images, by their names."""

from pathlib import Path

from pyramidflow.data.layouts.common import Sample
from pyramidflow.data.listing import list_images
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def match_masks(
    images: list[Path], kind: str, masks: Path | None, expected: Path | None
) -> list[Sample]:
    """Pair defective images with their masks.

    A mask has its image's name, with or without ``_mask``, and any image suffix. An image whose
    mask is missing where masks are expected has a problem: the others can still be measured.

    Args:
        images: of one kind of defect.
        kind: its name.
        masks: the folder of its masks, where there is one.
        expected: the folder where masks are expected; None where the data set has none at all.

    Raises:
        InputError: a mask without its image, two masks of one image, or a mask among the images.
    """
    if expected is None:
        _refuse_masks_among(images)
        return [Sample(path, kind, True, None) for path in images]
    by_stem = _by_stem(images, masks)
    return [
        Sample(path, kind, True, by_stem[path.stem])
        if path.stem in by_stem
        else Sample(path, kind, True, None, _missing(path, expected))
        for path in images
    ]


def _missing(path: Path, expected: Path) -> str:
    return (
        f"{printable(path)} has no mask: {printable(expected / path.stem)}_mask.png or "
        f"{printable(path.stem)}.png is expected there; add it, or remove the whole ground-truth "
        "folder to go without masks."
    )


def _by_stem(images: list[Path], masks: Path | None) -> dict[str, Path]:
    stems = {path.stem for path in images}
    matched: dict[str, Path] = {}
    for mask in [] if masks is None else list_images(masks):
        stem = mask.stem if mask.stem in stems else mask.stem.removesuffix("_mask")
        if stem not in stems:
            raise InputError(
                f"mask {printable(mask)} has a name that fits no test image: IMAGE_mask.png or "
                "IMAGE.png is expected; rename or remove it."
            )
        if stem in matched:
            raise InputError(
                f"{printable(matched[stem])} and {printable(mask)} are masks of one test image, "
                f"{printable(stem)}: one is expected; remove one of them."
            )
        matched[stem] = mask
    return matched


def _refuse_masks_among(images: list[Path]) -> None:
    stems = {path.stem for path in images}
    for path in images:
        if path.stem.endswith("_mask") and path.stem.removesuffix("_mask") in stems:
            raise InputError(
                f"{printable(path)} looks like a mask among test images: masks are expected in "
                "ground_truth/DEFECT beside the test folder; move it there."
            )

"""The brightness that a detector brings images to, measured on the training images."""

from dataclasses import replace
from statistics import mean

from pyramidflow.data import ImageSet, mean_level
from pyramidflow.errors import InputError
from pyramidflow.spec import AUTO, Spec

SAMPLE = 64
"""Images that are measured."""


def with_brightness(spec: Spec, images: ImageSet) -> Spec:
    """The spec with the mean of the training images in place of ``"auto"``.

    Args:
        spec: every setting.
        images: of the training; some of them are read, those that cannot be are left out.
    """
    if spec.preprocessing.brightness != AUTO:
        return spec
    step = max(1, len(images) // SAMPLE)
    levels = []
    for index in range(0, len(images), step)[:SAMPLE]:
        try:
            levels.append(mean_level(images[index]))
        except InputError:
            continue  # the training reads all of them, and names those that are bad
    level = max(1.0, round(mean(levels), 1)) if levels else 1.0
    return replace(spec, preprocessing=replace(spec.preprocessing, brightness=level))

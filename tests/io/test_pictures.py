"""Pictures as files, read back by others."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pyramidflow.io.pictures import png


def some(shape):
    return np.random.default_rng(2).integers(0, 256, (*shape, 3)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (33, 70), (300, 400)])
def test_a_png_holds_the_pixels_and_is_whole(shape):
    data = png(some(shape))
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # the checks of all chunks
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), some(shape))
    assert np.array_equal(imagecodecs.png_decode(data), some(shape))


def test_a_png_of_part_of_a_picture_holds_that_part():
    part = some((40, 50))[3:30:2, ::-3]
    assert np.array_equal(imagecodecs.png_decode(png(part)), part)


def test_a_grainy_picture_takes_little_more_room_than_pillow_needs():
    ramp = np.add.outer(np.arange(200), np.arange(300)) / 4 % 250
    grain = np.random.default_rng(0).normal(0, 4, (200, 300, 1))
    picture = np.clip(ramp[:, :, None] + grain + [0, 3, 6], 0, 255).astype(np.uint8)
    usual = io.BytesIO()
    Image.fromarray(picture).save(usual, format="PNG", compress_level=1)
    assert len(png(picture)) <= 1.1 * usual.tell()

"""Pictures as files, read back by others."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pyramidflow.io import pictures
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


def test_a_large_picture_is_compressed_line_by_line(monkeypatch):
    picture = some((33, 70))
    at_once = png(picture)
    monkeypatch.setattr(pictures, "_MOST_AT_ONCE", picture.nbytes - 1)
    data = png(picture)
    assert data != at_once
    assert np.array_equal(imagecodecs.png_decode(data), picture)


def test_a_smooth_picture_takes_no_more_room_than_zlib_needs():
    ramp = np.add.outer(np.arange(200), np.arange(300)) // 4 % 256
    picture = np.stack([ramp, ramp[::-1], ramp], axis=2).astype(np.uint8)
    usual = io.BytesIO()
    Image.fromarray(picture).save(usual, format="PNG", compress_level=1)
    assert len(png(picture)) <= usual.tell()

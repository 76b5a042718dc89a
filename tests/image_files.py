"""Image files for the tests of data, and how a refusal is checked."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pyramidflow.errors import InputError


def random_pixels(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def grey_to_colour(grey):
    return np.stack([grey, grey, grey], axis=-1)


def put_image(path, value=100, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


def put_mask(path, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[1, 2] = 255
    Image.fromarray(mask).save(path)
    return path


def put_deep_png(path, values):
    """Write a 16-bit PNG by the format's own rules: no library here writes the coloured ones."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)


def refused(call, *fragments):
    """The call raises one sentence that holds every fragment."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    for fragment in fragments:
        assert str(fragment) in message
    assert message.endswith(".")
    assert "\n" not in message
    return message

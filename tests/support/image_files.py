"""Image files for the tests of data, and how a refusal is checked."""

import signal
import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from pyramidflow.errors import InputError
from pyramidflow.interrupt import answering


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


# Where Adam7 starts in columns and rows, and its steps, in the order of its passes.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
ADAM7 = (*ADAM7, (0, 1, 1, 2))


def put_deep_png(path, values, chunks=(), late_chunks=(), interlaced=False):
    """Write a 16-bit PNG by the format's own rules: no library here writes the coloured ones."""
    height, width, channels = values.shape
    passes = [values[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [values]
    raw = b"".join(
        b"\0" + row.tobytes() for part in passes if part.size for row in part.astype(">u2")
    )
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, int(interlaced))
    data = b"\x89PNG\r\n\x1a\n"
    pixels = (b"IDAT", zlib.compress(raw))
    for name, body in ((b"IHDR", header), *chunks, pixels, *late_chunks, (b"IEND", b"")):
        body = bytes(body)
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data)


def put_packed_tiff(path, values, bits, byteorder="<", photometric=None):
    """Write a TIFF of packed integers by the format's own rules: rows start on whole bytes."""
    height, width, channels = values.shape
    rows = []
    for row in values.reshape(height, -1):
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        text += "0" * (-len(text) % 8)
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    raster = b"".join(rows)
    kind = photometric if photometric is not None else 2 if channels == 3 else 1
    depths = struct.pack(f"{byteorder}3H", bits, bits, bits)
    # Shorts (3) and longs (4); the three depths of colour do not fit into their tag.
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, bits), (259, 3, 1, 1)]
    tags += [(262, 3, 1, kind), (273, 4, 1, 0), (277, 3, 1, channels), (278, 4, 1, height)]
    tags += [(279, 4, 1, len(raster))]
    end = 8 + 2 + 12 * len(tags) + 4
    data = (b"II" if byteorder == "<" else b"MM") + struct.pack(f"{byteorder}HI", 42, 8)
    data += struct.pack(f"{byteorder}H", len(tags))
    for tag, form, count, value in tags:
        if tag == 258 and count == 3:
            form_value = struct.pack(f"{byteorder}I", end)
        elif tag == 273:
            form_value = struct.pack(f"{byteorder}I", end + len(depths))
        else:
            form_value = struct.pack(byteorder + ("Hxx" if form == 3 else "I"), value)
        data += struct.pack(f"{byteorder}HHI", tag, form, count) + form_value
    path.write_bytes(data + bytes(4) + depths + raster)


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


@contextmanager
def time_limit(seconds):
    """Fail instead of waiting for ever."""

    def stop(*_):
        raise TimeoutError(f"not done after {seconds} s")

    with answering({signal.SIGALRM: stop}):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

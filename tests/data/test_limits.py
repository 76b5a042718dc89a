"""Files that are too large, too slow, damaged or no image files: refused, and the process lives."""

import os
import socket
import struct
import subprocess
import sys
import textwrap
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow.data import Decoding, read_image
from tests.support.image_files import put_deep_png, put_image, random_pixels, refused, time_limit

# limits


KINDS = ("png", "png16", "jpg", "bmp", "tif", "tif16", "webp", "gif", "tga", "pgm", "pgm16", "jp2")


def put_kind(path, kind, size=(9, 9)):
    pixels = random_pixels((*size, 3), np.uint16 if kind.endswith("16") else np.uint8)
    if kind == "png16":
        put_deep_png(path, pixels)
    elif kind == "tif16":
        tifffile.imwrite(path, pixels, photometric="rgb")
    elif kind == "pgm16":
        header = b"P5 %d %d 65535\n" % (size[1], size[0])
        path.write_bytes(header + pixels[..., 0].tobytes())
    elif kind == "jp2":
        path.write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0))
    else:
        formats = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}
        image = Image.fromarray(pixels[..., 0] if kind == "pgm" else pixels)
        image.save(path, format=formats.get(kind, kind))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_gigantic_files_are_refused_before_they_are_decoded(tmp_path, kind):
    path = put_kind(tmp_path / f"a.{kind.rstrip('16')}", kind)
    assert read_image(path, Decoding(max_pixels=81)).shape == (9, 9, 3)
    read = lambda: read_image(path, Decoding(max_pixels=80))  # noqa: E731
    refused(read, path, "9×9", "at most 8e-05", "--max-megapixels", "max_pixels")


def test_the_limit_does_not_depend_on_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = put_image(tmp_path / "a.png", size=(9, 9))
    assert read_image(path).shape == (9, 9, 3)


# A header that announces far more pixels than the file has bytes.
SIDE = 100_000
BOMBS = {
    "png": b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", SIDE, SIDE, 16, 2, 0, 0, 0, 0),
    "bmp": struct.pack("<2sIII", b"BM", 90, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 0, 1, 1, 0, 0),
    "pgm": b"P5 100000 100000 65535\n",
    "pbm": b"P4 100000 100000\n",
    "tga": struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 60000, 60000, 24, 0),
    "j2k": b"\xff\x4f\xff\x51"
    + struct.pack(">HH8IHBBB", 41, 0, SIDE, SIDE, 0, 0, SIDE, SIDE, 0, 0, 1, 15, 1, 1),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_its_header(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(BOMBS[kind] + bytes(64))
    refused(lambda: read_image(path), path, "megapixels", "at most 178", "--max-megapixels")


@pytest.mark.parametrize("tags", [{}, {322: 10**5, 323: 10**5}])
def test_a_tiff_bomb_is_refused_by_its_header(tmp_path, tags):
    length = 16 if tags else 10**5
    entries = {256: length, 257: length, 258: 16, 259: 1, 262: 1, 277: 1, **tags}
    entries |= {324: 8, 325: 8} if tags else {273: 8, 278: length, 279: 8}
    data = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    for tag in sorted(entries):
        data += struct.pack("<HHII", tag, 4, 1, entries[tag])
    (tmp_path / "a.tif").write_bytes(data + bytes(4))
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "megapixels", "at most 178")


def test_deflated_pixels_beyond_the_size_are_never_inflated(tmp_path):
    values = np.zeros((8, 8), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, compression="zlib", metadata=None)
    bomb = zlib.compress(bytes(200 << 20), 9)
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        places = tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, places[0], len(data))
    struct.pack_into("<I", data, places[1], len(bomb))
    path.write_bytes(bytes(data) + bomb)
    code = """
        import resource, sys
        from pyramidflow.data import read_image
        from pyramidflow.errors import InputError
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_image(sys.argv[1])
        except InputError:
            pass
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), path], capture_output=True, check=True
    )
    assert int(done.stdout) < 100


def test_a_progressive_jpeg_of_a_thousand_scans_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(random_pixels((16, 16))).save(path, progressive=True)
    whole = path.read_bytes()
    assert read_image(path).shape == (16, 16, 3)
    start, header = whole.rfind(b"\xff\xda"), whole.find(b"\xff\xc2")
    data = bytearray(whole[:-2] + whole[start:-2] * 1000 + whole[-2:])
    struct.pack_into(">HH", data, header + 5, 12_000, 12_000)
    path.write_bytes(data)
    with time_limit(2):
        refused(lambda: read_image(path), path, "scans", "at most 100")


@pytest.mark.parametrize("magic", ["P1", "P2", "P3"])
def test_a_text_file_of_many_pixels_is_refused(tmp_path, magic):
    path = tmp_path / "a.pnm"
    path.write_bytes(f"{magic} 1001 1000 255\n".encode() + b"1 " * 100)
    refused(lambda: read_image(path), path, "text", "1000×1001", "save it binary")


# what is no file


def test_pipes_devices_and_sockets_are_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with time_limit(2):
        refused(lambda: read_image(tmp_path / "pipe.png"), "pipe.png", "a pipe", "give a file")
        message = refused(lambda: read_image("/dev/zero"), "a device", "give a file")
    assert message.count("/dev/zero") == 1
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        refused(lambda: read_image("s.png"), "s.png", "a socket", "give a file")


def test_a_file_that_became_a_pipe_meanwhile_is_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.png")
    whole = put_image(tmp_path / "b.png").stat()
    monkeypatch.setattr(os, "stat", lambda path: whole)
    with time_limit(2):
        refused(lambda: read_image(tmp_path / "a.png"), "a.png", "a pipe", "give a file")


@pytest.mark.parametrize("call", ["stat", "open"])
@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        OSError(13, "Permission denied"),
        OSError(116, "Stale file handle"),
    ],
)
def test_an_error_of_the_file_system_names_the_file(tmp_path, monkeypatch, call, error):
    path = put_image(tmp_path / "a.png")
    original = getattr(os, call)

    def failing(name, *args, **kwargs):
        if str(name) == str(path):
            raise error
        return original(name, *args, **kwargs)

    monkeypatch.setattr(os, call, failing)
    refused(lambda: read_image(path), path, error.strerror, "mend")


@pytest.mark.parametrize(
    ("name", "reason"), [("a\0b.png", "null"), ("n" * 300 + ".png", "too long")]
)
def test_an_impossible_name_is_refused(tmp_path, name, reason):
    refused(lambda: read_image(tmp_path / name), reason, "cannot be opened")


def test_names_cannot_break_the_sentence(tmp_path):
    path = tmp_path / "a\n\x1b[31m.png"
    path.write_bytes(b"text")
    message = refused(lambda: read_image(path), "not an image")
    assert message.isprintable()


# damage


def test_damaged_files_never_crash(tmp_path):
    """Whatever bytes change, an image or one sentence comes back, and the process lives."""
    for kind in KINDS:
        put_kind(tmp_path / kind, kind, size=(20, 21))
    code = """
        import random, sys, warnings
        from pathlib import Path
        from pyramidflow.data import Decoding, read_image
        from pyramidflow.errors import InputError

        warnings.simplefilter("ignore")
        rng = random.Random(0)
        for path in Path(sys.argv[1]).iterdir():
            print(path.name, flush=True)
            whole = path.read_bytes()
            refused = 0
            for _ in range(150):
                data = bytearray(whole)
                if rng.random() < 0.2:
                    data = data[: rng.randrange(len(data))]
                else:
                    reach = len(data) if rng.random() < 0.5 else min(len(data), 120)
                    for _ in range(rng.choice((1, 2, 8))):
                        data[rng.randrange(reach)] = rng.randrange(256)
                path.write_bytes(data)
                try:
                    pixels = read_image(path, Decoding(max_pixels=10**6))
                    assert pixels.ndim == 3 and pixels.shape[2] == 3
                except InputError as error:
                    assert str(error).isprintable() and str(error).endswith("."), str(error)
                    refused += 1
            assert refused > 5, path
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path]
    done = subprocess.run(command, capture_output=True, timeout=120)
    seen = done.stdout.decode().split()
    assert done.returncode == 0, f"at {seen[-1:]}: {done.stderr.decode()[-2000:]}"
    assert sorted(seen) == sorted(KINDS)

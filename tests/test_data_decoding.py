"""White levels, deep and packed formats, limits, and files that are no image files."""

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
from image_files import (
    grey_to_colour,
    put_deep_png,
    put_image,
    put_packed_tiff,
    random_pixels,
    refused,
    time_limit,
)
from PIL import Image

from pyramidflow.data import Decoding, read_image


def full_scale(values, white, full=65535):
    """What each value is of 65535, by exact integers: rounded, halves up."""
    scaled = [(2 * int(v) * full + white) // (2 * white) for v in np.asarray(values).flat]
    return np.array(scaled, np.uint16).reshape(np.shape(values))


# white levels


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_packed_tiff_is_scaled_by_its_own_white(tmp_path, bits, channels, byteorder):
    white = (1 << bits) - 1
    values = random_pixels((6, 7, channels), np.uint16) & white
    values[0, 0], values[0, 1] = 0, white
    put_packed_tiff(tmp_path / "a.tif", values, bits, byteorder)
    expected = full_scale(values, white)
    assert expected.max() == 65535
    for decoding in (Decoding(), Decoding(white_level=4095)):
        read = read_image(tmp_path / "a.tif", decoding)
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, np.broadcast_to(expected, (6, 7, 3)))


def test_packed_tiff_where_white_is_zero_is_turned_around_within_its_bits(tmp_path):
    values = random_pixels((6, 7, 1), np.uint16) & 4095
    put_packed_tiff(tmp_path / "a.tif", values, 12, photometric=0)
    expected = full_scale(4095 - values, 4095)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected.repeat(3, -1))


@pytest.mark.parametrize("kind", ["png", "png-rgb", "tif", "tif-rgb"])
def test_unpacked_bits_are_scaled_by_the_white_level_that_is_given(tmp_path, kind):
    suffix, _, colour = kind.partition("-")
    values = random_pixels((6, 7, 3 if colour else 1), np.uint16) & 4095
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        put_deep_png(path, values)
    else:
        tifffile.imwrite(path, values.squeeze(), photometric="rgb" if colour else "minisblack")
    colours = values if colour else values.repeat(3, -1)
    np.testing.assert_array_equal(read_image(path), colours)
    read = read_image(path, Decoding(white_level=4095))
    np.testing.assert_array_equal(read, full_scale(colours, 4095))


def test_a_value_above_the_white_level_is_refused(tmp_path):
    put_deep_png(tmp_path / "a.png", np.array([[[4095], [4096]]], np.uint16))
    read = lambda: read_image(tmp_path / "a.png", Decoding(white_level=4095))  # noqa: E731
    refused(read, "a.png", "4096", "4095", "--white-level")


def test_the_white_level_leaves_8_bits_and_float_alone(tmp_path):
    decoding = Decoding(white_level=4095)
    pixels = random_pixels((4, 5, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", decoding), pixels)
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.0, 1.0]], np.float32))
    assert read_image(tmp_path / "a.tif", decoding)[0, :, 0].tolist() == [0, 65535]


@pytest.mark.parametrize("given", [0, 255, 65536, 4095.0, True, "4095", -1])
def test_a_white_level_outside_its_range_is_refused(given):
    refused(lambda: Decoding(white_level=given), repr(given), "256 to 65535", "4095")


@pytest.mark.parametrize("given", [0, -5, 1e6, None])
def test_a_limit_of_pixels_outside_its_range_is_refused(given):
    refused(lambda: Decoding(max_pixels=given), repr(given), "at least 1")


# more formats


@pytest.mark.parametrize("magic", ["P5", "P6"])
@pytest.mark.parametrize("white", [256, 1023, 4095, 65535])
def test_deep_netpbm_is_scaled_by_its_largest_value(tmp_path, magic, white):
    channels = 3 if magic == "P6" else 1
    values = np.minimum(random_pixels((4, 5, channels), np.uint16), white)
    header = f"{magic}\n# made by hand\n5 4\n{white}\n".encode()
    (tmp_path / "a.pnm").write_bytes(header + values.astype(">u2").tobytes())
    read = read_image(tmp_path / "a.pnm")
    np.testing.assert_array_equal(read, np.broadcast_to(full_scale(values, white), (4, 5, 3)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P1 3 1 0 1 0", [255, 0, 255]),
        (b"P2 3 1 255 0 7 255", [0, 7, 255]),
        (b"P4\n3 1\n\x40", [255, 0, 255]),
        (b"P5 3 1 255\n\x00\x07\xff", [0, 7, 255]),
        (b"P5 3 1 15\n\x00\x01\x0f", [0, 17, 255]),
    ],
)
def test_shallow_netpbm_is_read(tmp_path, data, expected):
    (tmp_path / "a.pnm").write_bytes(data)
    read = read_image(tmp_path / "a.pnm")
    assert read.dtype == np.uint8
    assert read.tolist() == [[[value] * 3 for value in expected]]


def test_netpbm_that_is_cut_or_holds_several_images_is_refused(tmp_path):
    path = tmp_path / "a.pgm"
    one = b"P5 2 2 4095\n" + bytes(8)
    for data in (one[:-1], b"P5 2 2 255\n" + bytes(3), b"P5 2", b"P2 2 2 4095\n1 2 3 4\n"):
        path.write_bytes(data)
        refused(lambda: read_image(path), path, "expected")
    for data in (one, b"P5 2 2 255\n" + bytes(4), b"P4 9 2\n" + bytes(4)):
        path.write_bytes(data)
        assert read_image(path).shape[0] == 2
        path.write_bytes(data + data)
        refused(lambda: read_image(path), path, "several pages")
    path.write_bytes(b"P5 1 1 1000\n\x03\xe9")
    refused(lambda: read_image(path), path, "1001", "1000")


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (12, 1), (12, 3), (16, 3), (16, 4)])
def test_jpeg_2000_is_read_with_all_its_bits(tmp_path, bits, channels):
    dtype = np.uint8 if bits == 8 else np.uint16
    values = random_pixels((16, 17, channels), dtype) & ((1 << bits) - 1)
    data = imagecodecs.jpeg2k_encode(values.squeeze(), level=0, reversible=True, bitspersample=bits)
    (tmp_path / "a.jp2").write_bytes(data)
    read = read_image(tmp_path / "a.jp2")
    assert read.dtype == dtype
    colour = np.broadcast_to(values[..., : 3 if channels > 1 else 1], (16, 17, 3))
    expected = colour if bits == 8 else full_scale(colour, (1 << bits) - 1)
    np.testing.assert_array_equal(read, expected)
    (tmp_path / "a.jp2").write_bytes(data[: len(data) // 2])
    refused(lambda: read_image(tmp_path / "a.jp2"), "a.jp2", "complete image")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_tga_is_read_exactly(tmp_path, mode, compression):
    pixels = random_pixels((5, 7, 4))
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "a.tga", compression=compression)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tga"), expected)


def test_a_gif_is_read_if_it_holds_one_picture(tmp_path):
    images = [Image.fromarray(random_pixels((5, 7), seed=seed)) for seed in (0, 1)]
    images[0].save(tmp_path / "a.gif")
    expected = grey_to_colour(np.asarray(images[0]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif"), expected)
    images[0].save(tmp_path / "b.gif", save_all=True, append_images=images[1:])
    refused(lambda: read_image(tmp_path / "b.gif"), "b.gif", "several pages")


def test_an_interlaced_16_bit_png_is_read_exactly(tmp_path):
    values = random_pixels((11, 13, 3), np.uint16)
    put_deep_png(tmp_path / "a.png", values, interlaced=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values)


def test_transparency_without_alpha_leaves_a_16_bit_png_as_it_is(tmp_path):
    values = random_pixels((4, 5, 3), np.uint16)
    put_deep_png(tmp_path / "a.png", values, chunks=[(b"tRNS", values[0, 0].astype(">u2"))])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values)


def test_the_orientation_of_a_16_bit_png_is_found_behind_its_pixels(tmp_path):
    values = random_pixels((4, 5, 3), np.uint16)
    exif = Image.Exif()
    exif[274] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    put_deep_png(tmp_path / "a.png", values, late_chunks=[(b"eXIf", body)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(values, -1))


# pages of TIFF


def put_pages(path, pages):
    with tifffile.TiffWriter(path) as file:
        for values, subfiletype in pages:
            file.write(values, subfiletype=subfiletype, photometric="minisblack", metadata=None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("aside", ["reduced", "mask", "reduced mask"])
@pytest.mark.parametrize("is_first", [True, False])
def test_reduced_pages_and_masks_are_skipped(tmp_path, dtype, aside, is_first):
    values = random_pixels((8, 9), dtype)
    kind = {"reduced": 1, "mask": 4, "reduced mask": 5}[aside]
    part = values if kind == 1 else values > 100
    pages = [(values, 0), (part[::2, ::2], kind), (part[::4, ::4], kind)]
    put_pages(tmp_path / "a.tif", pages[::-1] if is_first else pages)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), grey_to_colour(values))
    put_pages(tmp_path / "b.tif", [*pages, (values, 0)])
    refused(lambda: read_image(tmp_path / "b.tif"), "b.tif", "several pages")


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("is_reduced", [False, True])
def test_a_hundred_thousand_pages_are_refused_at_once(tmp_path, is_big, is_reduced):
    page = "<QHHQQQ" if is_big else "<HHHIII"
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
    if not is_big:
        header = struct.pack("<2sHI", b"II", 42, 8)
    size, start = struct.calcsize(page), len(header)
    pages = (
        struct.pack(page, 1, 254, 4, 1, int(is_reduced), start + (number + 1) * size)
        for number in range(100_000)
    )
    (tmp_path / "a.tif").write_bytes(header + b"".join(pages))
    with time_limit(2):
        refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "pages", "one image is expected")


def test_pages_in_a_circle_are_refused(tmp_path):
    for subfile_type in (0, 1):
        page = struct.pack("<HHHIII", 1, 254, 4, 1, subfile_type, 8)
        (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 8) + page)
        with time_limit(2):
            refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "pages", "one image")


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


# what is no file


def test_pipes_devices_and_sockets_are_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    with time_limit(2):
        refused(lambda: read_image(tmp_path / "pipe.png"), "pipe.png", "a pipe", "give a file")
        refused(lambda: read_image("/dev/zero"), "/dev/zero", "a device", "give a file")
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

"""White levels, deep and packed formats, limits, and files that are no image files."""

import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow.data import Decoding, read_image
from tests.support.image_files import (
    grey_to_colour,
    put_deep_png,
    put_packed_tiff,
    random_pixels,
    refused,
    time_limit,
)


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 8}, {"tile": (16, 16)}])
@pytest.mark.parametrize("damage", ["start", "count"])
def test_a_tiff_with_parts_that_were_never_written_is_refused(
    tmp_path, dtype, compression, layout, damage
):
    path = tmp_path / "a.tif"
    pixels = random_pixels((32, 33, 3), dtype)
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, **layout)
    np.testing.assert_array_equal(read_image(path), pixels)
    with tifffile.TiffFile(path) as file:
        kind = "Tile" if "tile" in layout else "Strip"
        tags = [file.pages.first.tags[f"{kind}{part}"] for part in ("Offsets", "ByteCounts")]
    data = bytearray(path.read_bytes())
    if damage == "start":
        struct.pack_into("<I", data, tags[0].valueoffset, 0)
    else:
        for tag in tags:
            struct.pack_into("<I", data, tag.offset + 4, len(tag.value) - 1)
    path.write_bytes(data)
    refused(lambda: read_image(path), path, "missing", "complete image")

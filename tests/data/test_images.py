"""Image files: decoded exactly, turned upright, and refused."""

import math
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow.data import read_image, to_uint8
from tests.support.image_files import grey_to_colour, put_deep_png, random_pixels, refused

# decoding, 8 bits


def lossless_files():
    grey = random_pixels((5, 7))
    alpha = random_pixels((5, 7), seed=1)
    colour = random_pixels((5, 7, 3), seed=2)
    bits = grey > 127
    palette = random_pixels((4, 3), seed=3)
    index = random_pixels((5, 7), seed=4) % 4
    paletted = Image.fromarray(index)
    paletted.putpalette(palette.tobytes())
    images = {
        "1": (Image.fromarray(bits), grey_to_colour(bits.astype(np.uint8) * 255)),
        "L": (Image.fromarray(grey), grey_to_colour(grey)),
        "LA": (Image.fromarray(np.stack([grey, alpha], -1)), grey_to_colour(grey)),
        "P": (paletted, palette[index]),
        "RGB": (Image.fromarray(colour), colour),
        "RGBA": (Image.fromarray(np.concatenate([colour, alpha[..., None]], -1)), colour),
    }
    modes = {
        "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
        "bmp": ("1", "L", "P", "RGB"),
        "tif": ("1", "L", "LA", "P", "RGB", "RGBA"),
        "webp": ("RGB", "RGBA"),
    }
    return [
        pytest.param(suffix, mode, *images[mode], id=f"{suffix}-{mode}")
        for suffix, names in modes.items()
        for mode in names
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("suffix", "mode", "image", "expected"), lossless_files())
def test_lossless_8_bit_files_are_read_exactly(tmp_path, suffix, mode, image, expected):
    assert image.mode == mode
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(path, **options)
    read = read_image(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected)
    assert read.flags.writeable
    assert read.flags.c_contiguous


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_keeps_its_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80\xff")
    assert read_image(tmp_path / "a.png")[0].tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("RGB", (200, 40, 90), (200, 40, 90)),
        # Without black, red is what cyan leaves of 255, and so on.
        ("CMYK", (200, 40, 90, 0), (55, 215, 165)),
    ],
)
def test_jpeg_of_every_mode_is_read_to_its_loss(tmp_path, mode, value, expected):
    Image.new(mode, (16, 24), value).save(tmp_path / "a.jpg", quality=98)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (24, 16, 3)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - expected).max() <= 3


def test_the_main_picture_of_a_multi_picture_jpeg_is_read(tmp_path):
    bright, dark = Image.new("L", (16, 16), 220), Image.new("L", (16, 16), 10)
    bright.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[dark])
    assert abs(int(read_image(tmp_path / "a.jpg").mean()) - 220) <= 3


def test_the_format_is_recognised_by_content(tmp_path):
    pixels = random_pixels((4, 5, 3))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), pixels)


# decoding, 16 bits and float


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_read_exactly(tmp_path, channels):
    values = random_pixels((5, 7, channels), np.uint16)
    put_deep_png(tmp_path / "a.png", values)
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint16
    colour = values[..., :3] if channels >= 3 else values[..., :1].repeat(3, axis=-1)
    np.testing.assert_array_equal(read, colour)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_read_exactly(tmp_path, channels, compression, byteorder):
    values = random_pixels((5, 7, channels), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        values[..., 0] if channels == 1 else values,
        photometric="minisblack" if channels == 1 else "rgb",
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression=compression,
        byteorder=byteorder,
    )
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == np.uint16
    assert read.dtype.isnative
    colour = values.repeat(3, axis=-1) if channels == 1 else values[..., :3]
    np.testing.assert_array_equal(read, colour)


def test_16_bit_tiff_with_separate_planes_or_grey_alpha_is_read_exactly(tmp_path):
    values = random_pixels((5, 7, 3), np.uint16)
    planes = np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), values)
    tifffile.imwrite(
        tmp_path / "b.tif",
        values[..., :2],
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), grey_to_colour(values[..., 0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_where_white_is_zero_is_turned_around(tmp_path, dtype):
    grey = random_pixels((5, 7), dtype)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    expected = grey_to_colour(np.iinfo(dtype).max - grey)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_float_tiff_in_0_to_1_becomes_16_bits(tmp_path, dtype, channels):
    values = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 0.125]], dtype)
    pixels = values if channels == 1 else grey_to_colour(values)
    kind = "minisblack" if channels == 1 else "rgb"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=kind)
    read = read_image(tmp_path / "a.tif")
    assert read.dtype == np.uint16
    # 65535 times 1/4, 1/2, 3/4 and 1/8 is 16383.75, 32767.5 (to even), 49151.25 and 8191.875
    assert read[..., 1].tolist() == [[0, 16384, 32768], [49151, 65535, 8192]]
    np.testing.assert_array_equal(read, grey_to_colour(read[..., 0]))


# orientation


# What EXIF says of the stored row 0 and column 0, worked out by hand for [[1, 2, 3], [4, 5, 6]].
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png8", "png16", "webp8", "tif8", "tif16", "tif16rgb"])
def test_orientation_is_applied(tmp_path, kind, orientation):
    grey = np.array([[1, 2, 3], [4, 5, 6]], np.uint16 if "16" in kind else np.uint8)
    path = tmp_path / f"a.{kind[:3] if kind != 'webp8' else 'webp'}"
    if kind.startswith("tif"):
        rgb = kind.endswith("rgb")
        tifffile.imwrite(
            path,
            grey_to_colour(grey) if rgb else grey,
            photometric="rgb" if rgb else "minisblack",
            extratags=[(274, "H", 1, orientation, True)],
        )
    else:
        exif = Image.Exif()
        exif[274] = orientation
        options = {"lossless": True} if kind == "webp8" else {}
        pixels = grey_to_colour(grey) if kind == "webp8" else grey
        Image.fromarray(pixels).save(path, exif=exif, **options)
    expected = grey_to_colour(np.array(UPRIGHT[orientation]))
    np.testing.assert_array_equal(read_image(path), expected)


def test_orientation_of_a_jpeg_is_applied(tmp_path):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, 16:] = 255  # stored: bright on the right; turned by 90° clockwise: bright below
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (32, 16, 3)
    assert read[:14].max() < 20
    assert read[18:].min() > 235


# refusals of files


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    refused(lambda: read_image(tmp_path / "no.png"), tmp_path / "no.png", "no such", "give")
    refused(lambda: read_image(tmp_path), tmp_path, "is a folder", "give a file")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(lambda: read_image(tmp_path / "empty.png"), "empty.png", "0 bytes", "copy it again")
    (tmp_path / "text.png").write_text("not an image at all")
    refused(lambda: read_image(tmp_path / "text.png"), "text.png", "not an image", "PNG", "replace")
    (tmp_path / "page.tif").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refused(lambda: read_image(tmp_path / "page.tif"), "page.tif", "not an image")


@pytest.mark.parametrize(
    "kind",
    ["png", "jpg", "bmp", "tif", "webp", "gif", "tga", "ppm", "jp2", "png16", "tif16", "tif64"],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, kind, share):
    path = tmp_path / f"a.{kind.rstrip('146')}"
    noise = random_pixels((40, 50, 3), np.uint16 if kind.endswith("16") else np.uint8)
    if kind == "png16":
        put_deep_png(path, noise)
    elif kind == "tif16":
        tifffile.imwrite(path, noise, photometric="rgb", compression="zlib")
    elif kind == "tif64":
        tifffile.imwrite(path, noise / 255.0, photometric="rgb")
    else:
        Image.fromarray(noise).save(path)
    read_image(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(lambda: read_image(path), path, "expected", "remove")


def test_files_of_several_pages_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "several pages", "save each page")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 8, 8)), photometric="minisblack")
    refused(lambda: read_image(tmp_path / "b.tif"), "b.tif", "several pages", "save each page")
    frames = [Image.new("RGB", (8, 8), value) for value in ("red", "blue")]
    frames[0].save(tmp_path / "c.webp", save_all=True, append_images=frames[1:])
    refused(lambda: read_image(tmp_path / "c.webp"), "c.webp", "several pages", "save each page")


@pytest.mark.parametrize(
    ("values", "given"),
    [
        (np.array([[0.0, 255.0]], np.float32), "from 0 to 255"),
        (np.array([[-0.5, 1.0]], np.float64), "from -0.5 to 1"),
        (np.array([[0.0, math.nan]], np.float32), "nan"),
    ],
)
def test_float_values_outside_0_to_1_are_refused(tmp_path, values, given):
    tifffile.imwrite(tmp_path / "a.tif", values)
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", given, "[0, 1]", "divide")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "uint64"])
def test_integers_without_a_white_level_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 4), dtype))
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", dtype, "8 or 16 bits")


def test_tiff_of_other_channels_or_compressions_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, random_pixels((4, 5, 4), np.uint16), photometric="separated")
    refused(lambda: read_image(path), path, "4 channels", "SEPARATED", "save it as grey or RGB")
    five = random_pixels((6, 7, 5), np.uint16)
    tifffile.imwrite(path, five, photometric="minisblack", planarconfig="contig")
    refused(lambda: read_image(path), path, "5 channels", "save it as grey or RGB")

    tifffile.imwrite(path, five[..., :3], photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.tags["Compression"].valueoffset
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, offset, 34892)  # lossy DNG
    path.write_bytes(data)
    refused(lambda: read_image(path), path, "JPEG_LOSSY", "save it uncompressed or as PNG")


# display


def test_display_rounds_every_16_bit_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values.astype(np.float64) * (255.0 / 65535.0))
    np.testing.assert_array_equal(to_uint8(values), expected)
    assert to_uint8(values).dtype == np.uint8
    eight = random_pixels((3, 4, 3))
    np.testing.assert_array_equal(to_uint8(eight), eight)
    refused(lambda: to_uint8(eight / 255.0), "float64", "uint8 or uint16", "read_image")

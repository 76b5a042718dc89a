"""Arrays and Pillow images: the same pixels as the file, whatever form a user holds."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow.data import Decoding, as_pixels, read_image
from tests.support.image_files import (
    grey_to_colour,
    put_deep_png,
    put_packed_tiff,
    random_pixels,
    refused,
)


def saved_images():
    """Files of every mode that Pillow opens, by the name of the file and how it is written."""
    grey, alpha, colour = (random_pixels((5, 7, *c), seed=i) for i, c in enumerate(((), (), (3,))))
    paletted = Image.fromarray(grey % 4)
    paletted.putpalette(random_pixels(12, seed=3).tobytes())
    transparent = {"transparency": b"\x00\x80\xff\x10"}
    exif = Image.Exif()
    exif[274] = 6
    turned = {"exif": exif}
    return {
        "1.png": (Image.fromarray(grey > 127), {}),
        "L.png": (Image.fromarray(grey), {}),
        "LA.png": (Image.fromarray(np.stack([grey, alpha], -1)), {}),
        "P.png": (paletted, {}),
        "P-transparent.png": (paletted, transparent),
        "RGB.png": (Image.fromarray(colour), {}),
        "RGB-transparent.png": (Image.fromarray(colour), {"transparency": (1, 2, 3)}),
        "RGBA.png": (Image.fromarray(np.dstack([colour, alpha])), {}),
        "turned.png": (Image.fromarray(colour), turned),
        "turned-P.png": (paletted, turned),
        "turned.jpg": (Image.fromarray(colour), turned),
        "turned.webp": (Image.fromarray(colour), {**turned, "lossless": True}),
        "turned.tif": (Image.fromarray(colour), {"tiffinfo": {274: 6}}),
        "CMYK.jpg": (Image.fromarray(random_pixels((16, 24, 4)), mode="CMYK"), {}),
        "CMYK.tif": (Image.fromarray(random_pixels((5, 7, 4)), mode="CMYK"), {}),
        "YCbCr.tif": (Image.fromarray(colour).convert("YCbCr"), {"compression": "jpeg"}),
        "deep.png": (Image.fromarray(random_pixels((5, 7), np.uint16)), {}),
        "deep-turned.png": (Image.fromarray(random_pixels((5, 7), np.uint16)), turned),
        "deep.tif": (Image.fromarray(random_pixels((5, 7), np.uint16)), {}),
        "deep-turned.tif": (
            Image.fromarray(random_pixels((5, 7), np.uint16)),
            {"tiffinfo": {274: 6}},
        ),
        "F.tif": (Image.fromarray(np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)), {}),
        "one.gif": (paletted, {}),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", saved_images())
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_pillow_image_gives_the_pixels_of_its_file(tmp_path, name, is_loaded):
    image, options = saved_images()[name]
    if name == "deep-turned.tif" and is_loaded:
        # Uncompressed, Pillow itself would scramble it while it loads.
        options = {**options, "compression": "tiff_deflate"}
    image.save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as opened:
        if is_loaded:
            opened.load()
        info = opened.info.copy() if is_loaded else None
        pixels = as_pixels(opened)
        assert info is None or opened.info == info
        np.testing.assert_array_equal(pixels, as_pixels(opened))
    expected = read_image(tmp_path / name)
    assert pixels.dtype == expected.dtype
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(as_pixels(str(tmp_path / name)), expected)


def test_a_pillow_image_of_a_packed_tiff_gives_the_pixels_of_its_file(tmp_path):
    # Of packed bits Pillow opens this kind alone.
    put_packed_tiff(tmp_path / "a.tif", random_pixels((5, 7, 1), np.uint16) & 4095, 12)
    with Image.open(tmp_path / "a.tif") as opened:
        np.testing.assert_array_equal(as_pixels(opened), read_image(tmp_path / "a.tif"))


def test_a_pillow_image_where_white_is_zero_gives_the_pixels_of_its_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", random_pixels((5, 7), np.uint16), photometric="miniswhite")
    with Image.open(tmp_path / "a.tif") as opened:
        np.testing.assert_array_equal(as_pixels(opened), read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("white", [1000, 4095, 65535])
def test_a_pillow_image_of_a_deep_pgm_gives_the_pixels_of_its_file(tmp_path, white):
    values = np.minimum(random_pixels((5, 7), np.uint16), white)
    header = f"P5 7 5 {white}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + values.astype(">u2").tobytes())
    with Image.open(tmp_path / "a.pgm") as opened:
        np.testing.assert_array_equal(as_pixels(opened), read_image(tmp_path / "a.pgm"))


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
@pytest.mark.parametrize("white", [None, 4095])
def test_deep_pillow_images_equal_the_file(tmp_path, mode, white):
    values = random_pixels((5, 7), np.uint16) & 4095
    data = values.astype({"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")).tobytes()
    image = Image.frombytes(mode, (7, 5), data)
    assert image.mode == mode
    put_deep_png(tmp_path / "a.png", values[..., None])
    decoding = Decoding(white_level=white)
    expected = read_image(tmp_path / "a.png", decoding)
    np.testing.assert_array_equal(as_pixels(image, decoding), expected)
    np.testing.assert_array_equal(as_pixels(values, decoding), expected)


def test_a_float_pillow_image_equals_the_file(tmp_path):
    values = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)
    tifffile.imwrite(tmp_path / "a.tif", values)
    pixels = as_pixels(Image.fromarray(values))
    np.testing.assert_array_equal(pixels, read_image(tmp_path / "a.tif"))
    refused(lambda: as_pixels(Image.fromarray(values * 255)), "Pillow image", "from 0 to 255")


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA", "HSV", "RGBX"])
def test_modes_that_no_file_has_are_taken(mode):
    colour = np.full((2, 3, 4), 255, np.uint8)
    colour[..., :3] = [200, 40, 90]
    source = Image.fromarray(colour)
    if mode == "RGBX":
        image = Image.frombytes("RGBX", (3, 2), colour.tobytes())
    else:
        image = source if mode == "RGBa" else source.convert("RGB")
        if mode == "PA":
            image = image.quantize(4)
        image = (image.convert("LA") if mode == "La" else image).convert(mode)
    assert image.mode == mode
    grey = round(0.299 * 200 + 0.587 * 40 + 0.114 * 90)
    expected = [grey] * 3 if mode == "La" else [200, 40, 90]
    # Hues are stored in 256 steps: of each of the three colours that is up to three.
    assert np.abs(as_pixels(image).astype(int) - expected).max() <= (3 if mode == "HSV" else 0)


def test_other_pillow_images_are_refused(tmp_path):
    refused(lambda: as_pixels(Image.new("LAB", (3, 2))), "'LAB'", "grey or colour", "convert it")
    refused(lambda: as_pixels(Image.new("RGB", (0, 2))), "2×0", "at least 1×1")
    refused(lambda: as_pixels(Image.new("I", (3, 2), 70000)), "70000", "0 to 65535", "scale it")
    refused(lambda: as_pixels(Image.new("I", (3, 2), -1)), "-1", "0 to 65535")
    tifffile.imwrite(tmp_path / "a.tif", np.ones((3, 4), np.int32))
    with Image.open(tmp_path / "a.tif") as opened:
        refused(lambda: as_pixels(opened), "a.tif", "32-bit", "no white level")
    small = Decoding(max_pixels=5)
    refused(lambda: as_pixels(Image.new("L", (3, 2)), small), "2×3", "max_pixels")
    Image.fromarray(random_pixels((40, 50, 3))).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "cut.png") as opened:
        refused(lambda: as_pixels(opened), "Pillow image", "cut.png", "complete image")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_arrays_of_every_shape_are_taken(dtype, channels):
    shape = (5, 7) if channels is None else (5, 7, channels)
    values = random_pixels(shape, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    pixels = as_pixels(values)
    assert pixels.shape == (5, 7, 3)
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
    expected = values if channels == 3 else grey_to_colour(values.reshape(5, 7))
    np.testing.assert_array_equal(pixels, expected)


def test_an_array_that_is_pixels_already_is_not_copied():
    values = random_pixels((5, 7, 3))
    assert as_pixels(values) is values


def test_views_are_taken_in_their_own_order():
    blue_first = random_pixels((5, 7, 3))
    pixels = as_pixels(blue_first[:, :, ::-1])
    assert pixels.flags.c_contiguous
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], blue_first[..., 2 - channel])


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (np.zeros((5, 7, 3), np.float32), "[5, 7, 3] and type float32"),
        (np.zeros((5, 7, 3), np.int64), "int64"),
        (np.zeros((5, 7), bool), "bool"),
        (np.zeros((5, 7, 4), np.uint8), "[5, 7, 4]"),
        (np.zeros((3, 5, 7), np.uint8), "[3, 5, 7]"),
        (np.zeros((1, 5, 7, 3), np.uint8), "[1, 5, 7, 3]"),
        (np.zeros((0, 7, 3), np.uint8), "[0, 7, 3]"),
        (np.zeros((5, 0), np.uint8), "[5, 0]"),
        (np.zeros(5, np.uint8), "[5]"),
        (None, "is of type NoneType"),
        (7, "is of type int"),
        (b"a.png", "is of type bytes"),
        ([[1, 2], [3]], "list"),
    ],
)
def test_other_arrays_are_refused(image, given):
    refused(lambda: as_pixels(image), "the array", given, "[H, W, 1]", "uint8 or uint16", "give")


def test_an_array_above_the_white_level_is_refused():
    values = np.full((2, 2), 5000, np.uint16)
    # The level is the detector's: an inspection has no such option.
    words = ("the array", "5000", "4095", "train with", "--white-level")
    refused(lambda: as_pixels(values, Decoding(white_level=4095)), *words)

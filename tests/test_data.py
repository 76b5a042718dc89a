"""Files, layouts, transforms and image sets: what comes in, exactly, and what is refused."""

import math
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pyramidflow.data import (
    IMAGE_SUFFIXES,
    TEXTURE_CATEGORIES,
    ImageSet,
    augment_texture,
    check_trainable,
    imageset,
    list_categories,
    list_images,
    open_dataset,
    read_image,
    read_mask,
    resize_image,
    resolve_augmentation,
    split_validation,
    stack,
    to_uint8,
)
from pyramidflow.errors import InputError

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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
    assert not message.endswith(".")
    assert "\n" not in message
    return message


# listing


def test_images_are_listed_by_suffix_in_one_order(tmp_path):
    for name in ("b.PNG", "a10.png", "a2.jpg", "Z.tiff", "c.webp", "d.bmp", "e.JPEG", "f.tif"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("._b.png", ".hidden.jpg", "notes.txt", "png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    expected = ["Z.tiff", "a10.png", "a2.jpg", "b.PNG", "c.webp", "d.bmp", "e.JPEG", "f.tif"]
    assert [path.name for path in list_images(tmp_path)] == expected
    assert {Path(name).suffix.lower() for name in expected} == set(IMAGE_SUFFIXES)


def test_folders_below_are_listed_only_on_request(tmp_path):
    names = ["a/2.png", "a.png", "a/b/1.png", "a-1/3.png"]
    for name in [*names, ".cache/4.png", "a/.x/5.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path, recursive=True)]
    assert found == ["a-1/3.png", "a.png", "a/2.png", "a/b/1.png"]
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_listing_refuses_a_missing_folder_and_a_file(tmp_path):
    refused(lambda: list_images(tmp_path / "no"), tmp_path / "no", "no such folder", "give")
    file = put_image(tmp_path / "a.png")
    refused(lambda: list_images(file), file, "is a file", "give a folder")


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


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif", "webp", "png16", "tif16", "tif64"])
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
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "3 pages", "save each page")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((2, 8, 8)), photometric="minisblack")
    refused(lambda: read_image(tmp_path / "b.tif"), "b.tif", "2 pages", "save each page")
    frames = [Image.new("RGB", (8, 8), value) for value in ("red", "blue")]
    frames[0].save(tmp_path / "c.webp", save_all=True, append_images=frames[1:])
    refused(lambda: read_image(tmp_path / "c.webp"), "c.webp", "2 pages", "save each page")


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
    struct.pack_into("<H", data, offset, 34892)  # lossy DNG, which no library here decodes
    path.write_bytes(data)
    refused(lambda: read_image(path), path, "imagecodecs", "save the file uncompressed or as PNG")


@pytest.mark.parametrize("kind", ["pillow", "tifffile"])
def test_gigantic_files_are_refused(tmp_path, monkeypatch, kind):
    if kind == "pillow":
        path = put_image(tmp_path / "a.png", size=(9, 9))
    else:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.zeros((9, 9)))
    read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    refused(lambda: read_image(path), path, "at most 80", "crop it")


# masks


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_any_value_above_0_is_defect(tmp_path, dtype):
    values = np.array([[0, 1, 2], [255, 0, 3]], dtype)
    tifffile.imwrite(tmp_path / "m.tif", values)
    mask = read_mask(tmp_path / "m.tif", (2, 3))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, True, True], [True, False, True]]


def test_a_coloured_mask_is_defect_where_a_colour_is_above_0(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 3] = [[255, 255], [0, 255]]
    pixels[0, 1, 2] = 1
    pixels[1, 0, 0] = 9
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", (2, 2)).tolist() == [[False, True], [True, False]]


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = put_mask(tmp_path / "m.png", (6, 5))
    refused(lambda: read_mask(path, (5, 6)), path, "6×5", "5×6", "save the mask at the size")


def test_display_rounds_every_16_bit_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values.astype(np.float64) * (255.0 / 65535.0))
    np.testing.assert_array_equal(to_uint8(values), expected)
    assert to_uint8(values).dtype == np.uint8
    eight = random_pixels((3, 4, 3))
    np.testing.assert_array_equal(to_uint8(eight), eight)
    refused(lambda: to_uint8(eight / 255.0), "float64", "uint8 or uint16", "read_image")


# layouts


def put_mvtec(root):
    for name in ("002.png", "000.png", "001.png"):
        put_image(root / "train" / "good" / name)
    put_image(root / "test" / "good" / "000.png")
    for index in ("000", "001"):
        put_image(root / "test" / "scratch" / f"{index}.png")
        put_mask(root / "ground_truth" / "scratch" / f"{index}_mask.png")
    put_image(root / "test" / "dent" / "000.jpg")
    put_mask(root / "ground_truth" / "dent" / "000.bmp")
    return root


def put_btad(root):
    for name in ("0001.bmp", "0000.bmp"):
        put_image(root / "train" / "ok" / name)
    put_image(root / "test" / "ok" / "0002.bmp")
    put_image(root / "test" / "ko" / "0003.bmp")
    put_mask(root / "ground_truth" / "ko" / "0003.png")
    return root


def put_visa(root, normal=25):
    for index in range(normal):
        put_image(root / "Data" / "Images" / "Normal" / f"{index:04}.JPG")
    for index in range(2):
        put_image(root / "Data" / "Images" / "Anomaly" / f"{index:03}.JPG")
        put_mask(root / "Data" / "Masks" / "Anomaly" / f"{index:03}.png")
    return root


def put_visa_table(root, category, rows):
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir(exist_ok=True)
    lines = ["object,split,label,image,mask", "other,train,normal,other/Data/Images/Normal/0.JPG,"]
    for split, image, mask in rows:
        label = "normal" if "Normal" in image else "anomaly"
        images = f"{category}/Data/Images/{image}"
        masks = f"{category}/Data/Masks/{mask}" if mask else ""
        lines.append(f"{category},{split},{label},{images},{masks}")
    table.write_text("\n".join(lines) + "\n")
    return table


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def described(samples, root):
    return [
        (
            sample.path.relative_to(root).as_posix(),
            sample.kind,
            sample.is_defective,
            sample.mask_path and sample.mask_path.relative_to(root).as_posix(),
        )
        for sample in samples
    ]


@pytest.fixture(params=["dataset", "category"])
def opened(request, tmp_path):
    """Open a category by the data set and its name, or by its own folder."""

    def open_by(folder):
        if request.param == "category":
            return open_dataset(folder)
        put_mvtec(tmp_path / "zipper")
        return open_dataset(tmp_path, folder.name)

    return open_by


def test_mvtec_layout(tmp_path, opened):
    root = put_mvtec(tmp_path / "bottle")
    category = opened(root)
    assert (category.name, category.root, category.layout) == ("bottle", root, "mvtec")
    assert names(category.train, root) == [f"train/good/00{index}.png" for index in range(3)]
    assert described(category.test, root) == [
        ("test/dent/000.jpg", "dent", True, "ground_truth/dent/000.bmp"),
        ("test/good/000.png", "good", False, None),
        ("test/scratch/000.png", "scratch", True, "ground_truth/scratch/000_mask.png"),
        ("test/scratch/001.png", "scratch", True, "ground_truth/scratch/001_mask.png"),
    ]


def test_btad_layout(tmp_path, opened):
    root = put_btad(tmp_path / "01")
    category = opened(root)
    assert (category.name, category.layout) == ("01", "btad")
    assert names(category.train, root) == ["train/ok/0000.bmp", "train/ok/0001.bmp"]
    assert described(category.test, root) == [
        ("test/ko/0003.bmp", "ko", True, "ground_truth/ko/0003.png"),
        ("test/ok/0002.bmp", "good", False, None),
    ]


def test_visa_layout_with_its_table(tmp_path, opened):
    root = put_visa(tmp_path / "candle", normal=4)
    rows = [
        ("train", "Normal/0003.JPG", ""),
        ("test", "Normal/0001.JPG", ""),
        ("train", "Normal/0000.JPG", ""),
        ("train", "Normal/0002.JPG", ""),
        ("test", "Anomaly/001.JPG", "Anomaly/001.png"),
        ("test", "Anomaly/000.JPG", "Anomaly/000.png"),
    ]
    put_visa_table(tmp_path, "candle", rows)
    category = opened(root)
    assert (category.name, category.layout) == ("candle", "visa")
    assert names(category.train, root / "Data/Images/Normal") == [
        "0000.JPG",
        "0002.JPG",
        "0003.JPG",
    ]
    assert described(category.test, root / "Data") == [
        ("Images/Anomaly/000.JPG", "Anomaly", True, "Masks/Anomaly/000.png"),
        ("Images/Anomaly/001.JPG", "Anomaly", True, "Masks/Anomaly/001.png"),
        ("Images/Normal/0001.JPG", "good", False, None),
    ]


@pytest.mark.parametrize(("normal", "held"), [(25, 2), (10, 1), (3, 1), (2, 0)])
def test_visa_layout_without_its_table_tests_on_the_last_tenth(tmp_path, opened, normal, held):
    root = put_visa(tmp_path / "candle", normal)
    category = opened(root)
    images = [f"{index:04}.JPG" for index in range(normal)]
    assert [path.name for path in category.train] == images[: normal - held]
    good = [sample.path.name for sample in category.test if not sample.is_defective]
    assert good == images[normal - held :]
    assert described(category.test, root / "Data")[:2] == [
        (f"Images/Anomaly/00{i}.JPG", "Anomaly", True, f"Masks/Anomaly/00{i}.png") for i in (0, 1)
    ]


def test_plain_folder_and_training_only_layouts(tmp_path):
    plain = tmp_path / "parts"
    put_image(plain / "b.png")
    put_image(plain / "a.jpg")
    put_image(plain / "sub" / "c.png")
    category = open_dataset(plain)
    assert (category.name, category.layout, category.test) == ("parts", "folder", ())
    assert names(category.train, plain) == ["a.jpg", "b.png"]
    put_image(tmp_path / "cap" / "train" / "good" / "a.png")
    category = open_dataset(tmp_path / "cap")
    assert (category.layout, len(category.train), category.test) == ("mvtec", 1, ())


@pytest.mark.parametrize(("put", "layout", "test"), [("mvtec", "mvtec", 4), ("btad", "btad", 2)])
def test_test_images_alone_are_a_category_too(tmp_path, put, layout, test):
    root = {"mvtec": put_mvtec, "btad": put_btad}[put](tmp_path / "cap")
    shutil.rmtree(root / "train")
    category = open_dataset(root)
    assert (category.layout, category.train, len(category.test)) == (layout, (), test)


def test_a_link_has_the_name_it_was_given(tmp_path):
    put_mvtec(tmp_path / "bottle")
    (tmp_path / "flask").symlink_to(tmp_path / "bottle")
    assert open_dataset(tmp_path / "flask").name == "flask"


def test_the_folder_in_use_has_its_own_name(tmp_path, monkeypatch):
    put_mvtec(tmp_path / "bottle")
    monkeypatch.chdir(tmp_path / "bottle")
    assert open_dataset(".").name == "bottle"
    assert open_dataset(".", "bottle").name == "bottle"


def test_categories_are_listed(tmp_path):
    put_mvtec(tmp_path / "screw")
    put_btad(tmp_path / "02")
    put_visa(tmp_path / "candle")
    put_image(tmp_path / "plain" / "a.png")
    put_mvtec(tmp_path / ".hidden")
    (tmp_path / "readme.txt").write_text("x")
    assert list_categories(tmp_path) == ["02", "candle", "screw"]
    put_mvtec(tmp_path / "screw" / "older")
    assert list_categories(tmp_path / "screw") == []
    assert list_categories(tmp_path / "plain") == []
    refused(lambda: list_categories(tmp_path / "no"), tmp_path / "no", "no such folder")


def test_the_only_category_needs_no_name(tmp_path):
    put_mvtec(tmp_path / "bottle")
    assert open_dataset(tmp_path).name == "bottle"


def test_labels_come_from_the_folder(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    empty = Image.fromarray(np.zeros((6, 5), np.uint8))
    empty.save(root / "ground_truth" / "dent" / "000.bmp")
    put_mask(root / "ground_truth" / "good" / "000_mask.png")
    kinds = {(sample.kind, sample.is_defective) for sample in open_dataset(root).test}
    assert kinds == {("dent", True), ("good", False), ("scratch", True)}


def test_defects_without_any_ground_truth_are_allowed(tmp_path):
    root = tmp_path / "bottle"
    put_image(root / "train" / "good" / "000.png")
    put_image(root / "test" / "dent" / "000.png")
    assert described(open_dataset(root).test, root) == [("test/dent/000.png", "dent", True, None)]


def test_several_categories_and_none_named(tmp_path):
    put_mvtec(tmp_path / "bottle")
    put_mvtec(tmp_path / "cable")
    refused(lambda: open_dataset(tmp_path), tmp_path, "bottle, cable", "--category NAME")


def test_a_misspelt_category(tmp_path):
    for name in ("bottle", "cable", "screw"):
        put_mvtec(tmp_path / name)
    given = lambda name: lambda: open_dataset(tmp_path, name)  # noqa: E731
    refused(given("Botle"), "'Botle'", "the nearest, bottle,", "bottle, cable, screw", "--category")
    refused(given("CABEL"), "'CABEL'", "the nearest, cable,")
    assert "nearest" not in refused(given("xyzzy"), "'xyzzy'", "bottle, cable, screw")
    inside = lambda: open_dataset(tmp_path / "screw", "bottle")  # noqa: E731
    refused(inside, tmp_path / "screw", "'bottle'", "leave --category out")


def test_missing_and_empty_data_sets(tmp_path):
    refused(lambda: open_dataset(tmp_path / "no"), tmp_path / "no", "no such folder", "give")
    file = put_image(tmp_path / "a.png")
    refused(lambda: open_dataset(file), file, "is a file", "give the folder")
    (tmp_path / "empty").mkdir()
    message = refused(lambda: open_dataset(tmp_path / "empty"), tmp_path / "empty", "no images")
    assert "CATEGORY/train/good" in message
    good = tmp_path / "bottle" / "train" / "good"
    good.mkdir(parents=True)
    refused(lambda: open_dataset(tmp_path / "bottle"), good, "no images", "put them there")
    (tmp_path / "candle" / "Data" / "Images" / "Normal").mkdir(parents=True)
    refused(lambda: open_dataset(tmp_path / "candle"), "candle", "no images", "put them there")


def test_a_test_image_outside_the_labelled_folders(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    stray = put_image(root / "test" / "007.png")
    refused(lambda: open_dataset(root), stray, "test/good", "move it")


def test_a_missing_mask_is_named(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    (root / "ground_truth" / "scratch" / "001_mask.png").unlink()
    image = root / "test" / "scratch" / "001.png"
    refused(lambda: open_dataset(root), image, "no mask", "001_mask.png", "add it")
    root = put_visa(tmp_path / "candle")
    (root / "Data" / "Masks" / "Anomaly" / "000.png").unlink()
    refused(lambda: open_dataset(root), root / "Data/Images/Anomaly/000.JPG", "no mask", "add it")


@pytest.mark.parametrize("mask", ["scratch/007_mask.png", "hole/000_mask.png"])
def test_a_mask_that_fits_no_image_is_named(tmp_path, mask):
    root = put_mvtec(tmp_path / "bottle")
    path = put_mask(root / "ground_truth" / mask)
    refused(lambda: open_dataset(root), path, "fits no test image", "rename or remove")


def test_two_masks_of_one_image_are_named(tmp_path):
    root = put_mvtec(tmp_path / "bottle")
    path = put_mask(root / "ground_truth" / "scratch" / "000.png")
    refused(lambda: open_dataset(root), path, "000_mask.png", "remove one")


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        (("test", "Normal/9999.JPG", ""), ("Normal/9999.JPG", "does not exist", "restore")),
        (("test", "Anomaly/000.JPG", "Anomaly/9.png"), ("Anomaly/9.png", "does not exist")),
        (("test", "Anomaly/000.JPG", ""), ("no mask", "Anomaly/000.JPG", "add it")),
        (("train", "Anomaly/000.JPG", ""), ("'train'", "Anomaly/000.JPG", "correct its row")),
        (("val", "Normal/0000.JPG", ""), ("'val'", "train", "test", "correct its row")),
    ],
)
def test_a_wrong_row_of_the_visa_table_is_named(tmp_path, row, fragments):
    root = put_visa(tmp_path / "candle", 3)
    table = put_visa_table(tmp_path, "candle", [("train", "Normal/0001.JPG", ""), row])
    refused(lambda: open_dataset(root), table, *fragments)


def test_an_unusable_visa_table_is_named(tmp_path):
    root = put_visa(tmp_path / "candle", 3)
    table = put_visa_table(tmp_path, "candle", [])
    refused(lambda: open_dataset(root), table, "no training image of candle", "add its rows")
    table.write_text("name,file\nx,y\n")
    refused(lambda: open_dataset(root), table, "name", "object, split", "copy it again")
    table.write_bytes(b"\xff\xfe\x80\x81")
    refused(lambda: open_dataset(root), table, "cannot be read", "copy it again")


def test_training_needs_a_pair():
    refused(lambda: check_trainable([]), "no image", "pairs", "add more")
    refused(lambda: check_trainable([Path("a.png")]), "a.png", "at least 2", "add more")
    check_trainable([Path("a.png"), Path("b.png")])


# hold-out


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(100, 0.1, 10), (10, 0.05, 2), (10, 0.5, 5), (9, 0.5, 0), (50, 0.0, 0), (24, 0.1, 2)],
)
def test_held_out_images_are_counted_disjoint_and_sorted(count, share, held):
    paths = [Path(f"{index:03}.png") for index in range(count)]
    train, validation = split_validation(paths[::-1], share, seed=3)
    assert len(validation) == held
    assert sorted(train + validation) == paths
    assert train == sorted(train)
    assert validation == sorted(validation)


def test_held_out_images_depend_on_the_seed_alone():
    paths = [Path(f"{index:03}.png") for index in range(60)]
    first = split_validation(paths, 0.2, seed=1)
    assert split_validation(paths[::-1], 0.2, seed=1) == first
    assert split_validation(paths, 0.2, seed=2) != first


@pytest.mark.parametrize("share", [-0.1, 0.51, math.nan])
def test_a_share_outside_its_range_is_refused(share):
    refused(lambda: split_validation([], share, 0), str(share), "0 to 0.5", "give")


def test_a_negative_seed_is_refused():
    refused(lambda: split_validation([], 0.1, -1), "-1", "0 or more", "give")


# transforms


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(20, 31), (64, 48), (1, 1), (37, 90)])
def test_resize_equals_float64_interpolation(dtype, size):
    image = random_pixels((37, 53, 3), dtype)
    resized = resize_image(image, size)
    planes = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    exact = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    error = np.abs(resized - exact[0].permute(1, 2, 0).numpy())
    assert resized.dtype == dtype
    assert resized.shape == (*size, 3)
    assert resized.flags.c_contiguous
    # 8 bits are rounded after each of the two directions. 16 bits are rounded once, after float32
    # arithmetic that is good to a few tens of its epsilon (2^-23) of the full scale.
    assert error.max() <= (1.01 if dtype == np.uint8 else 0.5 + 32 * 2**-23 * 65535)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_halving_weighs_four_pixels_by_1_3_3_1(dtype):
    row = random_pixels(32, dtype)
    image = np.broadcast_to(row[None, :, None], (8, 32, 3)).astype(dtype)
    resized = resize_image(image, (8, 16))
    wide = row.astype(np.float64)
    inner = (wide[1:-3:2] + 3 * wide[2:-2:2] + 3 * wide[3:-1:2] + wide[4::2]) / 8
    assert np.abs(resized[3, 1:-1, 0] - inner).max() <= 0.51


def test_resize_to_the_same_size_changes_nothing():
    image = random_pixels((9, 9, 3))
    assert resize_image(image, 9) is image
    assert resize_image(image, 4).shape == (4, 4, 3)


@pytest.mark.filterwarnings("error")
def test_resize_takes_views_and_read_only_images():
    image = random_pixels((12, 12, 3))
    view = image[::-1, ::-1]
    expected = resize_image(np.ascontiguousarray(view), 5)
    np.testing.assert_array_equal(resize_image(view, 5), expected)
    fixed = np.ascontiguousarray(view)
    fixed.setflags(write=False)
    np.testing.assert_array_equal(resize_image(fixed, 5), expected)


def test_resize_refuses_other_arrays():
    refused(lambda: resize_image(random_pixels((5, 5)), 3), "[5, 5]", "[H, W, 3]", "read_image")
    refused(lambda: resize_image(np.zeros((5, 5, 3)), 3), "float64", "uint16", "read_image")
    refused(lambda: resize_image(random_pixels((5, 5, 3)), (0, 3)), "0×3", "1×1", "give")


def test_augmentation_gives_the_eight_ways_to_lay_a_square_equally_often():
    image = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    turns = [np.rot90(image, k) for k in range(4)]
    expected = {turn.tobytes() for turn in turns} | {turn[:, ::-1].tobytes() for turn in turns}
    rng = np.random.default_rng(0)
    count = 4000
    found = Counter()
    for _ in range(count):
        out = augment_texture(image, rng)
        assert out.flags.c_contiguous
        found[out.tobytes()] += 1
    assert set(found) == expected
    # Five standard deviations of a binomial count with probability 1/8
    margin = 5 * math.sqrt(count * (1 / 8) * (7 / 8))
    assert all(abs(times - count / 8) < margin for times in found.values())


def test_augmentation_permutes_whole_pixels():
    image = random_pixels((8, 8, 3), np.uint16)
    out = augment_texture(image, np.random.default_rng(0))
    assert out.dtype == np.uint16
    assert not np.array_equal(out, image)
    assert sorted(map(tuple, out.reshape(-1, 3))) == sorted(map(tuple, image.reshape(-1, 3)))


def test_augmentation_refuses_what_is_not_square():
    oblong = random_pixels((4, 6, 3))
    refused(lambda: augment_texture(oblong, np.random.default_rng(0)), "4×6", "square", "resize it")


def test_augmentation_by_name():
    assert resolve_augmentation("auto", "carpet")
    assert not resolve_augmentation("auto", "bottle")
    assert resolve_augmentation("texture", "bottle")
    assert not resolve_augmentation("none", "carpet")
    assert all(resolve_augmentation("auto", name) for name in TEXTURE_CATEGORIES)
    refused(lambda: resolve_augmentation("yes", "carpet"), "'yes'", "auto, texture or none", "give")


# image sets


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, in order."""
    seen = []

    def counting(path):
        seen.append(path.name)
        return read_image(path)

    monkeypatch.setattr(imageset, "read_image", counting)
    return seen


def test_an_image_set_reads_and_resizes(tmp_path):
    pixels = random_pixels((20, 30, 3))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    deep = random_pixels((7, 5, 3), np.uint16)
    put_deep_png(tmp_path / "b.png", deep)
    images = ImageSet([tmp_path / "a.png", tmp_path / "b.png"], 8)
    assert len(images) == 2
    np.testing.assert_array_equal(images[0], resize_image(pixels, 8))
    np.testing.assert_array_equal(images[1], resize_image(deep, 8))
    assert images[1].dtype == np.uint16
    assert ImageSet([tmp_path / "a.png"], (4, 6))[0].shape == (4, 6, 3)
    assert [image.shape for image in images] == [(8, 8, 3), (8, 8, 3)]


def test_images_are_kept_within_the_budget(tmp_path, decoded):
    paths = [put_image(tmp_path / f"{index}.png", index) for index in range(3)]
    bytes_each = 4 * 4 * 3
    images = ImageSet(paths, 4, cache_bytes=2 * bytes_each)
    for _ in range(3):
        assert [int(images[index][0, 0, 0]) for index in range(3)] == [0, 1, 2]
    assert decoded == ["0.png", "1.png", "2.png", "2.png", "2.png"]


def test_nothing_is_kept_without_a_budget(tmp_path, decoded):
    images = ImageSet([put_image(tmp_path / "a.png")], 4, cache_bytes=0)
    assert np.array_equal(images[0], images[0])
    assert decoded == ["a.png", "a.png"]


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_images_of_a_set_cannot_be_written_to(tmp_path, cache_bytes):
    images = ImageSet([put_image(tmp_path / "a.png")], 4, cache_bytes)
    with pytest.raises(ValueError, match="read-only"):
        images[0][0, 0, 0] = 1


def test_a_damaged_image_is_refused_when_it_is_asked_for(tmp_path):
    (tmp_path / "bad.png").write_text("text")
    images = ImageSet([put_image(tmp_path / "a.png"), tmp_path / "bad.png"], 4)
    assert images[0].shape == (4, 4, 3)
    refused(lambda: images[1], "bad.png", "not an image")


@pytest.mark.filterwarnings("error")
def test_stack_makes_a_batch(tmp_path):
    path = put_image(tmp_path / "a.png", 7)
    image = ImageSet([path], 4)[0]
    batch = stack([image, image])
    assert batch.dtype == torch.uint8
    assert batch.shape == (2, 4, 4, 3)
    batch.zero_()
    assert image.min() == 7


def test_stack_promotes_8_bits_to_16():
    eight = np.array([0, 1, 255], np.uint8).reshape(1, 1, 3)
    sixteen = np.array([5, 300, 65535], np.uint16).reshape(1, 1, 3)
    batch = stack([eight, sixteen])
    assert batch.dtype == torch.uint16
    assert batch.flatten().tolist() == [0, 257, 65535, 5, 300, 65535]


def test_stack_refuses_nothing_and_different_sizes():
    refused(lambda: stack([]), "none", "one shape", "resize")
    small, large = random_pixels((2, 2, 3)), random_pixels((2, 4, 3))
    refused(lambda: stack([small, large]), "[2, 2, 3]", "[2, 4, 3]", "resize")


# the package, and real data


def test_the_package_loads_without_this_room():
    code = "import sys, pyramidflow; assert 'pyramidflow.data' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(
    not (SHARED_DATA / "magnetic_tile").is_dir(),
    reason="the magnetic tile images are not beside the project in shared/data/magnetic_tile",
)
def test_magnetic_tiles():
    category = open_dataset(SHARED_DATA, "magnetic_tile")
    kinds = Counter(sample.kind for sample in category.test)
    assert len(category.train) == 240
    assert kinds == {
        "good": 60,
        "blowhole": 30,
        "break": 25,
        "crack": 20,
        "fray": 12,
        "uneven": 25,
    }
    shown = 0
    for sample in category.test:
        assert sample.is_defective == (sample.kind != "good")
        assert (sample.mask_path is None) == (sample.kind == "good")
        if sample.mask_path is not None:
            height, width, _ = read_image(sample.path).shape
            mask = read_mask(sample.mask_path, (height, width))
            shown += mask.any()
    # The masks of uneven/005, 013 and 021 are empty: those tiles are defective all the same.
    assert shown == 109

"""Ground-truth masks: what counts as a defect, and what is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow.data import Decoding, read_mask
from tests.support.image_files import put_mask, random_pixels, refused


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_any_value_above_0_is_defect(tmp_path, dtype):
    values = np.array([[0, 1, 2], [255, 0, 3]], dtype)
    tifffile.imwrite(tmp_path / "m.tif", values)
    mask = read_mask(tmp_path / "m.tif", (2, 3))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, True, True], [True, False, True]]


def test_a_coloured_mask_is_defect_where_a_colour_is_above_0(tmp_path):
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 1, 2] = 1
    pixels[1, 0, 0] = 9
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", (2, 2)).tolist() == [[False, True], [True, False]]


DEFECT = np.array([[0, 1, 1], [0, 0, 1]], bool)


def rgba(colour, alpha):
    colour = np.broadcast_to(np.asarray(colour, np.uint8)[..., None], (*DEFECT.shape, 3))
    alpha = np.broadcast_to(np.asarray(alpha, np.uint8), DEFECT.shape)
    return Image.fromarray(np.concatenate([colour, alpha[..., None]], -1))


@pytest.mark.parametrize("alpha", [0, 255, DEFECT * 255, DEFECT * 7])
def test_alpha_that_says_nothing_else_is_allowed(tmp_path, alpha):
    rgba(DEFECT * 200, alpha).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (2, 3)), DEFECT)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    "colour",
    [
        np.zeros((2, 3)),  # the defect is in alpha alone
        np.full((2, 3), 255),  # white ink on a white transparent ground
        ~DEFECT * 255,  # black ink on a white transparent ground
    ],
)
def test_a_defect_in_alpha_is_refused(tmp_path, suffix, colour):
    path = tmp_path / f"m.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    rgba(colour, DEFECT * 255).save(path, **options)
    refused(lambda: read_mask(path, (2, 3)), path, "alpha", "colours", "without alpha")


def test_a_defect_in_the_alpha_of_grey_is_refused(tmp_path):
    grey = np.stack([np.zeros(DEFECT.shape, np.uint8), DEFECT.astype(np.uint8)], -1)
    Image.fromarray(grey).save(tmp_path / "m.png")
    refused(lambda: read_mask(tmp_path / "m.png", (2, 3)), "alpha", "without alpha")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
def test_a_palette_counts_by_number_not_by_colour(tmp_path, suffix):
    image = Image.fromarray(DEFECT.astype(np.uint8) * 3)
    # Number 0 is grey, number 3 black: by colour the mask would be turned around.
    image.putpalette([90, 90, 90, 1, 2, 3, 4, 5, 6, 0, 0, 0])
    path = tmp_path / f"m.{suffix}"
    image.save(path)
    np.testing.assert_array_equal(read_mask(path, (2, 3)), DEFECT)


@pytest.mark.parametrize("name", ["m.jpg", "m.webp", "m.tif", "m.jp2", "renamed.png"])
def test_a_lossy_mask_is_refused(tmp_path, name):
    image = Image.fromarray((random_pixels((16, 24)) > 127).astype(np.uint8) * 255).convert("RGB")
    path = tmp_path / name
    kinds = {"m.jpg": "JPEG", "m.webp": "WEBP", "m.tif": "TIFF", "m.jp2": "JPEG2000"}
    options = {"compression": "jpeg"} if name == "m.tif" else {}
    image.save(path, format=kinds.get(name, "JPEG"), **options)
    refused(lambda: read_mask(path, (16, 24)), path, "changes values", "as PNG")


def test_a_lossless_webp_mask_with_metadata_is_read(tmp_path):
    exif = Image.Exif()
    exif[271] = "maker"
    rgba(DEFECT * 255, 255).save(tmp_path / "m.webp", lossless=True, exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.webp", (2, 3)), DEFECT)
    rgba(DEFECT * 255, 255).save(tmp_path / "n.webp", exif=exif)
    refused(lambda: read_mask(tmp_path / "n.webp", (2, 3)), "n.webp", "changes values")


def test_a_mask_that_is_not_finite_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, np.nan]], np.float32))
    refused(lambda: read_mask(tmp_path / "m.tif", (1, 2)), "m.tif", "not finite")


def test_a_gigantic_mask_is_refused(tmp_path):
    path = put_mask(tmp_path / "m.png")
    refused(lambda: read_mask(path, (6, 5), Decoding(max_pixels=29)), path, "--max-megapixels")


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = put_mask(tmp_path / "m.png", (6, 5))
    refused(lambda: read_mask(path, (5, 6)), path, "6×5", "5×6", "save the mask at the size")

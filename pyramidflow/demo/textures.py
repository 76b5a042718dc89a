"""A small defect data set made from texture photographs, for trying things out without a download.

The photographs (CC0) are installed with scikit-image; nothing is fetched. Good images are random
crops of one of them. Defects are painted into good crops, so that the ground truth is exact.
"""

import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pyramidflow.errors import InputError
from pyramidflow.io.files import unwritable
from pyramidflow.io.names import printable

TEXTURES: Final = ("brick", "grass", "gravel")
SMALLEST_IMAGE: Final = 32
VISIBLE_CHANGE: Final = 6
"""A pixel belongs to the defect if a channel changed by more than this, in grey levels."""

_MOST_SOURCE_PIXELS: Final = 192
_SPLITS: Final = ("train/good", "test/good")
_ILLUMINATION_GAIN: Final = 0.04
_ILLUMINATION_SLOPE: Final = 0.04
_SENSOR_NOISE: Final = 1.2

_Array = NDArray[np.float64]
_Effect = tuple[_Array, _Array]


def make_texture_set(
    root: Path,
    *,
    seed: int,
    image_size: int,
    train: int,
    good: int,
    defective_per_kind: int,
    texture: str = "brick",
) -> Path:
    """Write a data set in MVTec AD layout, made from one texture photograph.

    The layout is ``train/good/000.png``, ``test/good``, ``test/<kind>`` and
    ``ground_truth/<kind>/000_mask.png`` (0 or 255), with the kinds of :data:`DEFECT_KINDS`.
    Training images are cropped from the left half of the photograph only and test images from the
    right half only, so no photographed pixel is in both. A crop is taken at up to twice the image
    size, reduced, flipped at random, lit a little differently and given sensor noise.

    Every image has its own random stream, drawn from the seed, its folder and its number: asking
    for more images of one sort leaves all the others as they were.

    Args:
        root: folder to write to; made if missing, refused if it holds anything.
        seed: any number from 0; the same seed gives the same pixels.
        image_size: height and width of every image, in pixels, at least 32.
        train: number of good training images, at least 1.
        good: number of good test images.
        defective_per_kind: number of test images of each kind of defect.
        texture: ``brick``, ``grass`` or ``gravel``. Brick has the calmest surface: its defects show
            to the eye, and its joints are still structure that a detector has to learn.

    Returns:
        ``root``.

    Raises:
        InputError: A number is out of range, the texture is unknown or not installed, or the folder
            is not empty or cannot be written.
    """
    _check_numbers(seed, image_size, train, good, defective_per_kind)
    photograph = _load_photograph(texture)
    root = Path(root)
    check_empty(root)
    half = photograph.shape[1] // 2
    train_half, test_half = photograph[:, :half], photograph[:, half:]
    for folder, region, count in zip(_SPLITS, (train_half, test_half), (train, good), strict=True):
        _make_folder(root / folder)
        for number in range(count):
            rng = _stream(seed, folder, number)
            _save(random_crop(region, image_size, rng), root / folder / f"{number:03d}.png")
    for kind in DEFECT_KINDS:
        images, masks = root / "test" / kind, root / "ground_truth" / kind
        _make_folder(images)
        _make_folder(masks)
        for number in range(defective_per_kind):
            rng = _stream(seed, f"test/{kind}", number)
            image, mask = paint_defect(random_crop(test_half, image_size, rng), kind, rng)
            _save(image, images / f"{number:03d}.png")
            _save(mask.astype(np.uint8) * np.uint8(255), masks / f"{number:03d}_mask.png")
    return root


def check_empty(folder: Path) -> None:
    """Refuse a place for a texture set that holds anything.

    Raises:
        InputError: it is a file, or a folder with something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{printable(folder)} is not an empty folder: choose a new folder for the texture set."
        )


def random_crop(
    region: NDArray[np.uint8], image_size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut one good image out of a part of a photograph.

    Args:
        region: grey values, uint8 ``[rows, columns]``, at least 192 pixels on each side.
        image_size: height and width of the image, in pixels.
        rng: source of the position, flips, illumination and noise.

    Returns:
        uint8 ``[image_size, image_size, 3]``, three equal channels.
    """
    side = min(2 * image_size, _MOST_SOURCE_PIXELS)
    top, left = (int(rng.integers(0, length - side + 1)) for length in region.shape)
    crop = Image.fromarray(region[top : top + side, left : left + side])
    crop = crop.resize((image_size, image_size), Image.Resampling.LANCZOS)
    grey = np.asarray(crop, dtype=np.float64)  # [image_size, image_size]
    if rng.random() < 0.5:
        grey = grey[::-1]
    if rng.random() < 0.5:
        grey = grey[:, ::-1]
    gain = 1 + rng.uniform(-_ILLUMINATION_GAIN, _ILLUMINATION_GAIN)
    slope_y, slope_x = rng.uniform(-_ILLUMINATION_SLOPE, _ILLUMINATION_SLOPE, 2)
    y, x = np.mgrid[-0.5 : 0.5 : image_size * 1j, -0.5 : 0.5 : image_size * 1j]
    noise = rng.normal(0.0, _SENSOR_NOISE, grey.shape)
    lit = grey * (gain + slope_y * y + slope_x * x) + noise
    return np.repeat(_to_uint8(lit)[:, :, None], 3, axis=2)


def paint_defect(
    image: NDArray[np.uint8], kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint one defect into an image: ``gain · image + offset``, pixel by pixel.

    Args:
        image: uint8 ``[H, W, 3]`` with ``H = W``, at least 32 pixels.
        kind: one of :data:`DEFECT_KINDS`.
        rng: source of the place, shape, size and strength.

    Returns:
        The damaged image, uint8 ``[H, W, 3]``, and its mask, bool ``[H, W]``: the pixels of which a
        channel changed by more than :data:`VISIBLE_CHANGE`.

    Raises:
        InputError: the kind is unknown, or the image has another shape or type.
    """
    if kind not in _PAINTERS:
        raise InputError(f"the defect kind is {kind!r}: choose one of {', '.join(DEFECT_KINDS)}.")
    height, width = image.shape[:2]
    if image.dtype != np.uint8 or image.shape != (height, height, 3) or height < SMALLEST_IMAGE:
        raise InputError(
            f"the image to paint into has shape {list(image.shape)} and type {image.dtype}: "
            f"give a square uint8 image [H, H, 3] of at least {SMALLEST_IMAGE} pixels."
        )
    gain, offset = _PAINTERS[kind](width, rng)
    damaged = _to_uint8(image * gain[:, :, None] + offset[:, :, None])
    change = np.abs(damaged.astype(np.int16) - image.astype(np.int16)).max(axis=2)  # [H, W]
    return damaged, change > VISIBLE_CHANGE


def _scratch(size: int, rng: np.random.Generator) -> _Effect:
    """Return a thin bent groove: one lit edge, one shaded edge, fading towards its ends."""
    from scipy.spatial import cKDTree

    length = size * rng.uniform(0.3, 0.65)
    angle = rng.uniform(0, math.tau)
    along = np.array([math.sin(angle), math.cos(angle)])
    across = np.array([along[1], -along[0]])
    centre = _place(size, length / 2 * np.abs(along) + 2, rng)
    t = np.linspace(-1, 1, 4 * size)
    wobble = 0.015 * size * np.interp(t, np.linspace(-1, 1, 7), rng.normal(0, 0.35, 7))
    bend = length * rng.uniform(-0.14, 0.14) * (1 - t * t) + wobble
    path = centre + t[:, None] * (length / 2) * along + bend[:, None] * across  # [steps, 2]

    pressure = np.interp(t, np.linspace(-1, 1, 9), rng.uniform(0.55, 1.0, 9))
    pressure *= np.minimum(1.0, (1 - np.abs(t)) / 0.18) ** 0.6
    half_width = rng.uniform(0.5, 1.1)
    pixels = np.indices((size, size)).transpose(1, 2, 0)  # [size, size, 2] as (y, x)
    distance, nearest = cKDTree(path).query(pixels)  # [size, size] each
    local = pressure[nearest]
    side = np.sign((pixels - path[nearest]) @ across)

    line = np.clip(half_width * local + 0.5 - distance, 0, 1) * local
    lip = np.clip(half_width * local + 1.3 - distance, 0, 1) * local * (side > 0) * (1 - line)
    bright = rng.random() < 0.6
    tone = rng.uniform(215, 245) if bright else rng.uniform(30, 50)
    strength = rng.uniform(0.65, 0.9)
    gain = 1 - strength * line - (0.3 * lip if bright else 0)
    offset = strength * line * tone + (0 if bright else 30 * lip)
    return gain, offset


def _spot(size: int, rng: np.random.Generator) -> _Effect:
    """Return a small sharp speck, a grain of dirt or a splash of light paint."""
    radius = max(1.6, size * rng.uniform(0.02, 0.04))
    inside, y, x = _blob(size, radius, 0.12, 5, rng)
    alpha = np.clip(inside + 0.5, 0, 1)
    highlight = np.exp(-((y / radius + 0.35) ** 2 + (x / radius + 0.35) ** 2) / 0.25)
    tone = rng.uniform(190, 220) if rng.random() < 0.4 else rng.uniform(25, 45)
    alpha = alpha * rng.uniform(0.8, 0.95)
    return 1 - alpha, alpha * (tone + 32 * highlight)


def _stain(size: int, rng: np.random.Generator) -> _Effect:
    """Return a damp patch: a soft irregular darkening with a slightly darker tide mark."""
    radius = size * rng.uniform(0.09, 0.16)
    inside, _, _ = _blob(size, radius, 0.3, 7, rng)
    inside = inside + radius * 0.22 * _smooth_noise(size, radius / 2.5, rng)
    softness = radius * rng.uniform(0.3, 0.5)
    ramp = np.clip(inside / softness + 0.5, 0, 1)
    alpha = ramp * ramp * (3 - 2 * ramp)
    tide = np.exp(-(((inside - 0.4 * softness) / (0.35 * softness)) ** 2))
    mottle = 1 + 0.18 * _smooth_noise(size, radius / 4, rng)
    strength = rng.uniform(0.8, 1.15)
    depth = strength * (0.85 * alpha * mottle + 0.3 * tide * alpha)
    return 1 - 0.16 * depth, -14 * depth


def _hole(size: int, rng: np.random.Generator) -> _Effect:
    """Return a broken-out piece: a dark polygon, lit where light falls in, with a chipped rim."""
    radius = size * rng.uniform(0.04, 0.075)
    corners = int(rng.integers(7, 12))
    steps = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (math.tau / corners)
    stretch, turn = rng.uniform(0.6, 1.0), rng.uniform(0, math.pi)
    radii = radius * rng.uniform(0.7, 1.15, corners)
    flat = np.stack([radii * np.cos(steps), stretch * radii * np.sin(steps)])
    turning = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    centre = _place(size, np.full(2, 1.3 * radius + 2), rng)
    points = (turning @ flat).T + centre  # [corners, 2] as (y, x)
    chips = 1 + (2.0 / radius) * rng.uniform(0.5, 1.3, (corners, 1))
    alpha = _polygon(points, size)
    rim = np.clip(_polygon((points - centre) * chips + centre, size) - alpha, 0, 1)

    y, x = np.mgrid[:size, :size]
    depth = np.clip(((y - centre[0]) + (x - centre[1])) / (2.4 * radius), -1, 1)
    floor = 26 + 16 * depth + 6 * _smooth_noise(size, 1.5, rng)
    lit = np.clip(0.45 + 0.75 * depth, 0, 1)
    fracture = 1 + 0.3 * _smooth_noise(size, 0.8, rng)
    return 1 - 0.97 * alpha - 0.25 * rim * (1 - lit), alpha * floor + 80 * rim * lit * fracture


_PAINTERS: Final[dict[str, Callable[[int, np.random.Generator], _Effect]]] = {
    "scratch": _scratch,
    "spot": _spot,
    "stain": _stain,
    "hole": _hole,
}
DEFECT_KINDS: Final = tuple(_PAINTERS)


def _blob(
    size: int, radius: float, roughness: float, harmonics: int, rng: np.random.Generator
) -> tuple[_Array, _Array, _Array]:
    centre = _place(size, np.full(2, 1.3 * radius + 2), rng)
    y, x = np.indices((size, size)) - centre[:, None, None]
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    outline = np.ones_like(distance)
    for order in range(2, harmonics + 1):
        outline += (
            roughness / order * rng.normal() * np.cos(order * angle + rng.uniform(0, math.tau))
        )
    return radius * outline - distance, y, x


def _place(size: int, margin: _Array, rng: np.random.Generator) -> _Array:
    margin = np.minimum(margin, size / 2)
    return rng.uniform(margin, size - margin)


def _smooth_noise(size: int, cell: float, rng: np.random.Generator) -> _Array:
    from scipy.ndimage import gaussian_filter

    noise: _Array = gaussian_filter(rng.normal(size=(size, size)), cell, mode="wrap")
    noise /= noise.std()
    return noise


def _polygon(points: _Array, size: int, fine: int = 8) -> _Array:
    canvas = Image.new("L", (size * fine, size * fine))
    corners = [(float(x + 0.5) * fine, float(y + 0.5) * fine) for y, x in points]
    ImageDraw.Draw(canvas).polygon(corners, fill=255)
    reduced = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(reduced, dtype=np.float64) / 255


def _to_uint8(values: _Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _stream(seed: int, folder: str, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, *folder.encode()])


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    try:
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _load_photograph(texture: str) -> NDArray[np.uint8]:
    if texture not in TEXTURES:
        raise InputError(f"the texture is {texture!r}: choose one of {', '.join(TEXTURES)}.")
    photograph = files("skimage.data") / f"{texture}.png"
    if not photograph.is_file():
        raise InputError(
            f"the photograph {texture}.png is missing from the installed scikit-image: "
            "reinstall it with pip install --force-reinstall scikit-image."
        )
    with photograph.open("rb") as stream, Image.open(stream) as image:
        return np.asarray(image.convert("L"), dtype=np.uint8)


def _check_numbers(
    seed: int, image_size: int, train: int, good: int, defective_per_kind: int
) -> None:
    smallest = {
        "seed": (seed, 0),
        "image_size": (image_size, SMALLEST_IMAGE),
        "train": (train, 1),
        "good": (good, 0),
        "defective_per_kind": (defective_per_kind, 0),
    }
    for name, (value, least) in smallest.items():
        if value < least:
            raise InputError(f"{name} is {value}: give at least {least}.")

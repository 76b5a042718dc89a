"""The pose of a part, from its image and a reference picture.

Every angle is tried at once on small pictures, by correlation in the frequency domain; the best
few are refined by least squares, first on the small pictures, then on finer ones. Both pictures are
band-passed: what light does over long distances and noise from pixel to pixel play no part.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.alignment.pose import Pose, inside, sampled, sampled_at, within_turn

Grey = npt.NDArray[np.float32]

COARSE = 64
"""Longer side in pixels of the pictures on which every angle is tried."""

FINE = 256
"""Longer side in pixels of the largest pictures on which a pose is refined."""

ANGLE_STEP = 5.0
"""Degrees between the angles that are tried: at a part's ends a pixel or two of a small picture."""

CANDIDATES = 4
"""Angles that are refined. A part may look much alike from its other end."""

NEAR = 0.1
"""Difference in agreement up to which finer pictures decide between two poses."""

SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that removes noise."""

LIGHT = 0.09
"""Standard deviation of the Gaussian that light is told from parts by, in longer sides."""

OUTLIER = 4.685
"""Residuals in standard deviations from which a pixel has no say (Tukey's biweight)."""

NEARLY, DONE = 0.1, 0.01
"""Pixels of a step at which a refinement ends, on small and on fine pictures."""

EDGES = 0.15
"""Share of the reference's pixels, its steepest, that tell how well a picture fits."""

LEAST_SEEN = 0.2
"""Share of the reference that has to lie in the image."""


@dataclass(frozen=True)
class Found:
    """The best pose, and what speaks for it.

    Attributes:
        pose: of the part.
        agreement: correlation with the reference at that pose, 1 for the reference itself. What of
            the reference lies outside of the image counts as disagreement.
    """

    pose: Pose
    agreement: float


class PoseSearch:
    """Finds the pose of parts that look like a reference. Does not change: threads may share it.

    Args:
        reference: the picture, ``[3, h, w]`` from 0 to 1.
        ratio: its height over its width, as lengths.
        largest_shift: that is looked for, in widths.
        largest_angle: likewise, in degrees either way; 0 looks for shifts alone.
    """

    def __init__(
        self, reference: Tensor, ratio: float, largest_shift: float, largest_angle: float
    ) -> None:
        self._ratio = ratio
        self._largest_shift = largest_shift
        self._largest_angle = largest_angle
        self._sizes = [_size(reference, ratio, longer) for longer in (COARSE, FINE)]
        pictures = band_passed(reference, self._sizes)
        turns = largest_angle > 0
        self._fits = [_Fit(picture, ratio, turns) for picture in pictures]
        steps = math.ceil(2 * largest_angle / ANGLE_STEP) + 1
        angles = np.linspace(-largest_angle, largest_angle, steps)
        self._angles = angles[:-1] if largest_angle == 180 else angles  # both ends are one angle
        self._spectra = np.stack([self._spectrum(pictures[0], angle) for angle in self._angles])
        self._window = self._shifts()

    def find(self, picture: Tensor) -> Found:
        """The pose of the part in a picture ``[3, H, W]`` from 0 to 1."""
        coarse, fine = band_passed(picture, self._sizes)
        found = [self._fits[0].refined(coarse, start, NEARLY) for start in self._starts(coarse)]
        found = [each for each in found if self._is_allowed(each.pose)]
        if not found:
            return Found(Pose(), 0.0)
        best = max(found, key=lambda each: each.agreement)
        close = [each for each in found if each.agreement > best.agreement - NEAR]
        finer = [self._fits[1].refined(fine, each.pose, DONE) for each in _distinct(close)]
        finer = [each for each in finer if self._is_allowed(each.pose)]
        if not finer:
            return best
        pose = max(finer, key=lambda each: each.agreement).pose
        return Found(pose, self._fits[0].agreement(coarse, pose))

    def _is_allowed(self, pose: Pose) -> bool:
        # A part at the very limit may be refined a little beyond it.
        shift = math.hypot(pose.x, pose.y)
        return shift <= 1.05 * self._largest_shift + 0.01 and (
            abs(pose.angle) <= self._largest_angle + ANGLE_STEP / 2
        )

    def _starts(self, picture: Grey) -> list[Pose]:
        """Poses to refine: the best shift of each of the angles that correlate best."""
        from scipy import fft

        height, width = picture.shape
        canvas = (2 * height, 2 * width)
        spectrum = fft.rfft2(picture, canvas)
        surfaces = fft.irfft2(spectrum[None] * self._spectra, canvas)  # [A, 2h, 2w]
        surfaces = np.where(self._window, surfaces, -np.inf).reshape(len(surfaces), -1)
        at = surfaces.argmax(1)
        heights = surfaces[np.arange(len(at)), at]
        starts = []
        for index in _peaks(heights, is_round=self._largest_angle == 180)[:CANDIDATES]:
            row, column = divmod(int(at[index]), canvas[1])
            row, column = (k - 2 * n if k >= n else k for k, n in ((row, height), (column, width)))
            x, y = column / width, row / height * self._ratio
            starts.append(Pose(x, y, float(self._angles[index])))
        return starts

    def _spectrum(self, picture: Grey, angle: float) -> npt.NDArray[np.complex64]:
        """Conjugate spectrum of the turned reference on a canvas that holds all of it."""
        from scipy import fft

        height, width = picture.shape
        grid = sampled_at(Pose(angle=-angle), (2 * height, 2 * width), self._ratio, canvas=2.0)
        turned = sampled(torch.from_numpy(picture)[None], grid, padding="zeros")[0].numpy()
        # The reference's centre to where it lies in a picture of its own size.
        rolled = np.roll(turned, (-(height - height // 2), -(width - width // 2)), (0, 1))
        found: npt.NDArray[np.complex64] = np.conj(fft.rfft2(rolled))
        return found

    def _shifts(self) -> npt.NDArray[np.bool_]:
        """Which places of a correlation surface are shifts that are looked for, ``[2h, 2w]``."""
        (height, width), ratio = self._sizes[0], self._ratio
        y = np.fft.fftfreq(2 * height, 1 / (2 * height))[:, None] / height * ratio
        x = np.fft.fftfreq(2 * width, 1 / (2 * width))[None] / width
        window: npt.NDArray[np.bool_] = np.hypot(x, y) <= self._largest_shift
        return window


class _Fit:
    """Least squares of a picture against the reference, at one resolution.

    With the pose ``p`` that is known, the picture read at ``p(u)`` is nearly ``a·r(u + J δ) + b``
    for a small further motion ``δ``, light ``a`` and ``b``; pixels that fit badly have no say.
    """

    STEPS = 12

    def __init__(self, reference: Grey, ratio: float, turns: bool) -> None:
        self._size = (reference.shape[0], reference.shape[1])
        self._ratio = ratio
        self._reference = reference.astype(np.float64)
        height, width = self._size
        down, right = np.gradient(self._reference)
        down, right = down * height / ratio, right * width  # by length
        y = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * ratio
        x = ((np.arange(width) + 0.5) / width - 0.5)[None]
        slopes = [right, down]
        if turns:
            slopes.append(x * down - y * right)
        columns = [self._reference, np.ones_like(self._reference), *slopes]
        self._columns = np.stack(columns).reshape(len(columns), -1)  # [5, h·w]
        slope = np.hypot(right, down).ravel()
        self._edges = slope >= np.quantile(slope, 1 - EDGES)
        self._energy = float(np.square(self._reference - self._reference.mean()).sum())

    def refined(self, picture: Grey, start: Pose, done: float) -> Found:
        """The pose near another one at which a picture fits best.

        Args:
            picture: at the reference's size.
            start: pose to begin with.
            done: step in pixels below which it ends.
        """
        pose, longer = start, max(self._size)
        for _ in range(self.STEPS):
            values, seen = self._read(picture, pose)
            if not (seen & self._edges).any():
                return Found(pose, 0.0)
            motion = self._motion(values, seen)
            if motion is None or math.hypot(motion.x, motion.y) > 0.25:
                return Found(pose, 0.0)
            pose = pose.after(motion.inverse)
            step = math.hypot(motion.x, motion.y) + abs(math.radians(motion.angle)) / 2
            if step * longer < done:
                break
        return Found(pose, self.agreement(picture, pose))

    def agreement(self, picture: Grey, pose: Pose) -> float:
        """Correlation of the picture at a pose with the whole reference."""
        values, seen = self._read(picture, pose)
        if seen.mean() < LEAST_SEEN:
            return 0.0
        a = values[seen] - values[seen].mean()
        b = self._reference.ravel()[seen]
        b = b - b.mean()
        scale = math.sqrt(float(np.square(a).sum()) * self._energy)
        return float((a * b).sum()) / scale if scale > 0 else 0.0

    def _read(
        self, picture: Grey, pose: Pose
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        grid = sampled_at(pose, self._size, self._ratio)
        values = sampled(torch.from_numpy(picture)[None], grid)[0]
        return values.numpy().astype(np.float64).ravel(), inside(grid).ravel()

    def _motion(self, values: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_]) -> Pose | None:
        weights = seen.astype(np.float64)
        light = self._solved(self._columns[:2], values, weights)
        if light is None or light[0] <= 0:
            return None
        residuals = values - np.einsum("k,kn->n", light, self._columns[:2])
        # Of edges: by the spread of an empty background, an edge a pixel off is an outlier.
        spread = 1.4826 * float(np.median(np.abs(residuals[seen & self._edges])))
        if spread > 0:
            ratio = np.square(residuals / (OUTLIER * spread))
            weights *= np.square(np.clip(1 - ratio, 0, None))
        found = self._solved(self._columns, values, weights)
        if found is None or found[0] <= 0:
            return None
        x, y, *turned = (float(value) for value in found[2:] / found[0])
        return Pose(x, y, math.degrees(turned[0]) if turned else 0.0)

    @staticmethod
    def _solved(
        columns: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64] | None:
        # Sums by einsum: the same bits with any number of threads.
        weighted = columns * weights
        normal = np.einsum("in,jn->ij", weighted, columns)
        right = np.einsum("in,n->i", weighted, values)
        try:
            solved: npt.NDArray[np.float64] = np.linalg.solve(normal, right)
        except np.linalg.LinAlgError:
            return None
        return solved if np.isfinite(solved).all() else None


def band_passed(picture: Tensor, sizes: list[tuple[int, int]]) -> list[Grey]:
    """A picture ``[3, H, W]`` in grey, without noise and light, at each of some sizes."""
    from scipy import ndimage

    grey = picture.mean(0)[None, None]  # [1, 1, H, W]
    reduced = [_resized(grey, size) for size in sizes]
    small = reduced[0][0, 0].numpy()
    light = ndimage.gaussian_filter(small, LIGHT * max(small.shape), mode="nearest")
    smooth = torch.from_numpy(light)[None, None]
    found = []
    for size, values in zip(sizes, reduced, strict=True):
        fine = ndimage.gaussian_filter(values[0, 0].numpy(), SMOOTHING, mode="nearest")
        found.append(fine - _resized(smooth, size)[0, 0].numpy())
    return found


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(picture, size, mode="bilinear", antialias=True)


def _size(reference: Tensor, ratio: float, longer: int) -> tuple[int, int]:
    """Height and width with square pixels, as far as whole numbers allow."""
    longer = min(longer, max(reference.shape[-2:]))
    width = min(longer, longer / ratio)
    return max(2, round(width * ratio)), max(2, round(width))


def _peaks(heights: npt.NDArray[np.float32], is_round: bool) -> list[int]:
    """Numbers of the angles that correlate better than their neighbours, the best first."""
    if len(heights) == 1:
        return [0]
    ends = "wrap" if is_round else "constant"
    kwargs = {} if is_round else {"constant_values": -np.inf}
    around = np.pad(heights, 1, mode=ends, **kwargs)  # type: ignore[call-overload]
    peaks = np.flatnonzero((heights >= around[:-2]) & (heights >= around[2:]))
    return [int(index) for index in peaks[np.argsort(-heights[peaks], kind="stable")]]


def _distinct(found: list[Found]) -> list[Found]:
    """Found poses without those that another, better one is as good as."""
    kept: list[Found] = []
    for each in sorted(found, key=lambda other: -other.agreement):
        if all(abs(within_turn(each.pose.angle - k.pose.angle)) > 1 for k in kept):
            kept.append(each)
    return kept

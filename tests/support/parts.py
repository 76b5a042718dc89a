"""A part whose picture is a formula, so that it can be drawn in any pose without interpolation."""

import numpy as np

GROUND = 0.8


def drawn(size=64, x=0.0, y=0.0, angle=0.0, *, ratio=1.0, light=1.0, tip=True, dent=None):
    """A long part with two different ends and a notch on one side, darker than its ground.

    Args:
        size: height and width in pixels, or one number for both.
        x: shift to the right, in widths.
        y: shift down, in widths.
        angle: turn, clockwise, in degrees.
        ratio: height over width, as lengths.
        light: factor of the brightness.
        tip: whether the thin end is there.
        dent: ``(u, v)`` of a small bright spot on the part, in widths.

    Returns:
        uint8 ``[h, w, 3]``.
    """
    height, width = (size, size) if isinstance(size, int) else size
    q_y = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * ratio - y
    q_x = ((np.arange(width) + 0.5) / width - 0.5)[None] - x
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u, v = cos * q_x + sin * q_y, -sin * q_x + cos * q_y
    soft = 1 / 40

    def box(left, right, half):
        along = _step((u - left) / soft) * _step((right - u) / soft)
        return along * _step((half - np.abs(v)) / soft)

    part = np.maximum(box(-0.32, -0.2, 0.12), box(-0.2, 0.2 if tip else 0.1, 0.05))
    if tip:
        part = np.maximum(part, box(0.18, 0.34, 0.025))
    part = part * (1 - 0.8 * _spot(u, v, -0.05, 0.05, 0.03))
    picture = GROUND - 0.5 * part
    if dent is not None:
        picture = picture + 0.3 * _spot(u, v, *dent, 0.02)
    grey = np.clip(light * picture * 255, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def _step(t):
    return 1 / (1 + np.exp(-4 * t))


def _spot(u, v, u0, v0, radius):
    return np.exp(-((u - u0) ** 2 + (v - v0) ** 2) / (2 * radius**2))

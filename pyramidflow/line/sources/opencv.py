"""OpenCV, loaded on use."""

from typing import Any

import numpy as np

from pyramidflow.data import Pixels
from pyramidflow.line.extras import need


def opencv() -> Any:
    """The module.

    Raises:
        InputError: it is not installed.
    """
    need("cv2", "line", "a camera or a video")
    import cv2

    return cv2


def from_opencv(picture: Any) -> Pixels:
    """Pixels ``[H, W, 3]`` red, green, blue of OpenCV's blue, green, red, or of grey ``[H, W]``."""
    turned = picture[:, :, ::-1] if picture.ndim == 3 else picture
    return np.ascontiguousarray(turned)

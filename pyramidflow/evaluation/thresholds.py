"""What measurements that look at no threshold have in common."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyramidflow.errors import CalibrationWarning


@contextmanager
def unused_threshold() -> Iterator[None]:
    """Train without the warning that a threshold from training images is too low.

    Where every good image is trained on, as in the papers, none is left to set it with; metrics
    over all thresholds do not look at it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        yield

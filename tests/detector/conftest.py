"""The detector that most tests of this room look at."""

import pytest

from pyramidflow import Detector


@pytest.fixture
def detector(tiny_detector_file):
    """Of the tiny set, loaded anew."""
    return Detector.load(tiny_detector_file)

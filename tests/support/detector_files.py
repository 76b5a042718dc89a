"""Detector files with another header, and what is said of them."""

import json

import numpy as np
import pytest

from pyramidflow import Detector
from pyramidflow.errors import InputError

ZEROS = np.zeros((16, 16, 3), np.uint8)
"""A picture."""


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        Detector.load(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 600
    for word in (path.name, *words):
        assert word in sentence


def without_digest(header):
    return {key: value for key, value in header.items() if key != "digest"}


def changed_header(header, path, value):
    changed = json.loads(json.dumps(header))
    *parents, last = path
    place = changed
    for key in parents:
        place = place[key]
    place[last] = value
    return without_digest(changed)

"""Short trainings, and whether two of them ended alike."""

import torch

from pyramidflow import Detector
from tests.support.tiny import TINY


def fit(data, *, without=(), seed=0, **arguments):
    """A tiny detector after an epoch."""
    arguments = {"epochs": 1, "validation_share": 0.25, "show_progress": False} | arguments
    return Detector(16, **TINY, without=without, seed=seed).fit(data, **arguments)


def weights(detector):
    """Everything that a training gives, by name."""
    tensors = dict(detector.model.state_dict())
    return tensors | {f"template{d}": z for d, z in enumerate(detector.template)}


def assert_bit_equal(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name

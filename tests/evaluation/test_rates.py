"""Rates at the threshold, and how sure they are."""

import math

import pytest

from pyramidflow.evaluation import Rate


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (1, 1, 0.025, 1.0),
        (5, 20, 0.086571, 0.491046),  # tables of Clopper and Pearson
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(count, total, low, high):
    found = Rate(count, total).interval()
    assert found == pytest.approx((low, high), abs=1e-6)
    assert Rate(count, total).value == count / total


def test_a_rate_of_nothing_is_not_defined():
    assert math.isnan(Rate(0, 0).value)
    assert all(map(math.isnan, Rate(0, 0).interval()))
    assert str(Rate(0, 0)) == "no images"


def test_a_rate_as_people_read_it():
    assert str(Rate(3, 60)) == "3 of 60, 5.0% (1.0% to 13.9%)"

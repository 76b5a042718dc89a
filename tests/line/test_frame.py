"""A frame: its identity and metadata as every store and page can hold them."""

from datetime import datetime
from pathlib import Path

import pytest

from pyramidflow.io.lines import json_line
from pyramidflow.line.frame import Frame

ROUND = [0]
ROUND[0] = ROUND


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("4711", "4711"),
        ("Teil_T\udcfcr_2", "Teil_T\\xfcr_2"),
        ("a\0b", "a\\x00b"),
        ("half \ud800 pair", "half \\ud800 pair"),
    ],
)
def test_an_identity_is_a_text_that_every_store_takes(given, text):
    frame = Frame(Path("x.png"), "x", identity=given, metadata={given: [{"code": given}]})
    assert frame.identity == frame.arrived_now().identity == text
    assert frame.metadata == {text: [{"code": text}]}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (-3, -3),
        (2.5, 2.5),
        ((1, [2.0]), [1, [2.0]]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (float("nan"), "nan"),
        ([float("inf")], "[inf]"),
        (datetime(2026, 3, 1), "datetime.datetime(2026, 3, 1, 0, 0)"),
        ({1: 2}, "{1: 2}"),
        (b"\x00", r"b'\x00'"),
        (10**400, f"1{'0' * 59}…"),
        (ROUND, "[[...]]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_that_are_no_json_become_text(value, kept):
    frame = Frame(Path("x.png"), "x", metadata={"taken": value})
    assert frame.metadata == {"taken": kept}
    assert json_line(frame.metadata)

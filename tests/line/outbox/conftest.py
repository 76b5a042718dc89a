"""The file that the tests of this room keep records in."""

import pytest


@pytest.fixture
def store(tmp_path):
    return tmp_path / "line.sqlite"

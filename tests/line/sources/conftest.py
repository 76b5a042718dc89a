"""Watched folders that end with their test."""

import pytest

from tests.line.sources.watched import Watch


@pytest.fixture
def watch(tmp_path):
    opened = []

    def start(recorded=None, folder=None, **settings):
        opened.append(Watch(folder or tmp_path / "in", recorded, **settings))
        return opened[-1]

    (tmp_path / "in").mkdir()
    yield start
    for each in opened:
        each.close()

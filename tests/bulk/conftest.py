"""What the tests of bulk inspections share."""

import numpy as np
import pytest

from tests.support.tiny import write_image


@pytest.fixture(scope="session")
def encoded(tmp_path_factory):
    """The bytes of a few pictures, some with a defect."""
    folder, rng = tmp_path_factory.mktemp("encoded"), np.random.default_rng(3)
    for index in range(8):
        write_image(folder / f"{index}.png", rng, defect=index % 3 == 0)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture
def archive(tmp_path, encoded):
    """Makes a folder of so many pictures."""

    def make(count, name="in"):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(count):
            (folder / f"{index:05}.png").write_bytes(encoded[index % len(encoded)])
        return folder

    return make

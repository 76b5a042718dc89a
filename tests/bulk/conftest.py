"""What the tests of bulk inspections share."""

from time import monotonic, sleep

import numpy as np
import pytest

from tests.support.tiny import write_image


@pytest.fixture(scope="session")
def cluster():
    """A Ray cluster of two workers with a thread each, for all tests of this process."""
    pytest.importorskip("ray.data", reason="needs Ray, of the extra ray")
    from ray._private import services

    from pyramidflow.bulk import cluster as module
    from pyramidflow.bulk.cluster import ClusterSettings, connected

    settings = ClusterSettings(workers=2, threads=1, store_bytes=100_000_000)
    with pytest.MonkeyPatch.context() as patch:
        # Ray's own 15 would let its workers wait for every other test of the machine.
        patch.setenv("RAY_worker_niceness", "5")
        patch.setattr(module, "_SECONDS_TO_START", 300.0)
        patch.setattr(services, "get_node", patient(services.get_node))
        with connected(settings, "cpu") as found:
            yield found


def patient(look):
    """Ray's look for the node that it starts, which gives up after half a minute.

    A machine that runs other tests beside may need longer for Ray's processes.
    """

    def call(*given):
        until = monotonic() + 240
        while True:
            try:
                return look(*given)
            except RuntimeError:
                if monotonic() > until:
                    raise
                sleep(0.5)

    return call


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

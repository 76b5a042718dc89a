"""How a cluster is reached, and what is said where it is not."""

import logging
import os
import socket
import time

import pytest

from pyramidflow.bulk import cluster as module
from pyramidflow.bulk.cluster import ClusterSettings, connected
from pyramidflow.errors import InputError

ray = pytest.importorskip("ray", reason="needs Ray, of the extra ray")


@pytest.fixture
def unconnected(monkeypatch):
    """Nothing is connected, whatever other tests have started."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize("address", ["ray://host:10001", "host", "host:", ":6379x", "host:99999"])
def test_an_address_that_is_none_is_refused(address):
    with (
        pytest.raises(InputError, match=r"address|nothing answers"),
        connected(ClusterSettings(address), "cpu"),
    ):
        pass


@pytest.mark.usefixtures("unconnected")
def test_nobody_at_the_address_is_told_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    started = time.monotonic()
    with (
        pytest.raises(InputError, match="nothing answers"),
        connected(ClusterSettings(address), "cpu"),
    ):
        pass
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("unconnected")
def test_a_connection_that_hangs_or_fails_is_told(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS_TO_START", 0.2)
    monkeypatch.setattr(ray, "init", lambda **given: time.sleep(5))
    with pytest.raises(InputError, match="no answer within"), connected(ClusterSettings(), "cpu"):
        pass

    def refuse(**given):
        raise RuntimeError("no room")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InputError, match="no room"), connected(ClusterSettings(), "cpu"):
        pass


@pytest.mark.usefixtures("unconnected")
def test_auto_takes_the_cluster_that_runs_and_starts_one_where_none_does(monkeypatch):
    asked = []

    def init(address, **given):
        asked.append((address, given))
        if address == "auto":
            raise ConnectionError("none")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 6.0})
    settings = ClusterSettings("auto", workers=3, threads=2, store_bytes=90_000_000)
    with connected(settings, "cpu") as found:
        assert (found.device, found.workers, found.share) == ("cpu", 3, {"num_cpus": 2})
    assert [address for address, _ in asked] == ["auto", "local"]
    assert "object_store_memory" not in asked[0][1]
    own = asked[1][1]
    assert (own["num_cpus"], own["num_gpus"], own["include_dashboard"]) == (6, 0, False)
    assert own["object_store_memory"] == 90_000_000
    assert own["log_to_driver"] is False


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize(
    ("there", "settings", "device", "most", "expected"),
    [
        ({"CPU": 8.0}, ClusterSettings(), "auto", None, ("cpu", 8, 1)),
        ({"CPU": 8.0}, ClusterSettings(threads=3), "auto", None, ("cpu", 2, 3)),
        ({"CPU": 8.0}, ClusterSettings(), "cpu", 3, ("cpu", 3, 1)),
        ({"CPU": 8.0}, ClusterSettings(workers=9), "cpu", 3, ("cpu", 3, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, ClusterSettings(), "auto", None, ("cuda", 2, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, ClusterSettings(), "cpu", None, ("cpu", 8, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, ClusterSettings(workers=1), "cuda", None, ("cuda", 1, 1)),
    ],
)
def test_workers_follow_from_what_the_cluster_has(
    monkeypatch, there, settings, device, most, expected
):
    monkeypatch.setattr(ray, "init", lambda **given: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    with connected(settings, device, most) as found:
        assert (found.device, found.workers, found.threads) == expected
        assert found.share.get("num_gpus", 0) == (expected[0] == "cuda")


@pytest.mark.usefixtures("unconnected")
@pytest.mark.parametrize(
    ("settings", "device", "words"),
    [
        (ClusterSettings(workers=9), "auto", "9 workers are asked for: the cluster has 8"),
        (ClusterSettings(threads=9), "cpu", "9 cores: the cluster has 8"),
        (ClusterSettings(), "cuda", "no GPU"),
        (ClusterSettings(), "cuda:1", "hands out"),
    ],
)
def test_more_than_the_cluster_has_is_refused(monkeypatch, settings, device, words):
    monkeypatch.setattr(ray, "init", lambda **given: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with pytest.raises(InputError, match=words), connected(settings, device):
        pass


@pytest.mark.usefixtures("unconnected")
def test_what_ray_writes_to_standard_error_is_not_seen_and_the_rest_is(monkeypatch, capfd):
    def init(**given):
        os.write(2, b"[2026] I logging.cc: noise")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    with connected(ClusterSettings(), "cpu"):
        os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


def test_a_logger_of_ray_writes_to_its_files_alone_and_others_keep_their_handlers():
    pytest.importorskip("ray.data", reason="needs Ray, of the extra ray")
    from ray._private.log import PlainRayHandler
    from ray.data._internal.logging import SessionFileHandler

    file, elsewhere = SessionFileHandler("ray.log"), logging.StreamHandler()
    logger = logging.Logger("ray.data")
    for handler in (PlainRayHandler(), file, elsewhere):
        logger.addHandler(handler)
    module.silence(logger)
    assert logger.handlers == [file]
    assert elsewhere.level == logging.NOTSET

"""How much and how often."""

import socket

from tests.service.served import BEARER, configuration, picture, served

from pyramidflow.service.limits import Rate  # isort: skip


def test_a_bucket_fills_evenly():
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.take("a") for _ in range(60)] == [0.0] * 60
    assert rate.take("a") == 1.0
    assert rate.take("b") == 0.0
    now[0] = 0.5
    assert rate.take("a") == 0.5
    now[0] = 2.0
    assert [rate.take("a") > 0 for _ in range(3)] == [False, False, True]
    now[0] = 1e6
    assert [rate.take("a") > 0 for _ in range(61)] == [False] * 60 + [True]


def test_waiting_takes_nothing():
    rate = Rate(1, lambda: 0.0)
    assert rate.wait("a") == rate.wait("a") == rate.take("a") == 0.0
    assert rate.wait("a") == 60.0


def test_too_many_requests_wait(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file), requests_per_minute=10) as found:
        codes = [found.client.get("/health").status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]
        assert found.client.get("/health").headers["retry-after"] == "6"
        assert found.inspect(picture()).status_code == 200


def test_large_bodies_are_refused(shared):
    assert shared.inspect(b"x" * 100_001).status_code == 413
    pieces = (b"x" * 10_000 for _ in range(11))  # of no length that is known
    answer = shared.client.post("/inspect", content=pieces, headers=BEARER)
    assert answer.status_code == 413
    answer = shared.client.post("/api/marks", content=b"x" * 64_001, headers=BEARER)
    assert answer.status_code == 413


def test_a_length_that_is_none_is_refused(shared):
    host, _, port = shared.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(b"POST /inspect HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
        assert wire.recv(100).split()[1] in (b"400", b"413")

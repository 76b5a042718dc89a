"""Connections that say little, slowly, or too much."""

import socket
import time

import pytest

from tests.service.raw import address_of, asked, exchange, received
from tests.service.served import BEARER, configuration, picture, served

from pyramidflow.service import protection  # isort: skip
from pyramidflow.service.connections import hurried  # isort: skip

SECONDS = 0.5


@pytest.fixture
def hasty(tmp_path, detector_file, monkeypatch):
    monkeypatch.setattr("pyramidflow.service.connections.hurried", lambda: hurried(SECONDS, 20))
    monkeypatch.setattr(protection, "_SECONDS_TO_SEND", SECONDS)
    monkeypatch.setattr(protection, "_SECONDS_TO_UPLOAD", SECONDS)
    with served(configuration(tmp_path, detector_file)) as found:
        yield found


def seconds_until_closed(wire):
    start = time.monotonic()
    received(wire)
    return time.monotonic() - start


def sent_until_closed(wire, data, most, between=0.0):
    """Bytes that went out before the other side closed the connection."""
    sent = 0
    while sent < most:
        try:
            sent += wire.send(data)
        except OSError:
            return sent
        time.sleep(between)
    return pytest.fail(f"still open after {sent} bytes")


def test_a_connection_that_asks_nothing_is_closed(hasty):
    with socket.create_connection(address_of(hasty.url)) as wire:
        assert SECONDS / 2 < seconds_until_closed(wire) < 10 * SECONDS


@pytest.mark.parametrize("first", [b"", asked().replace(b"close", b"keep-alive")])
def test_headers_that_drip_are_cut_off(hasty, first):
    with socket.create_connection(address_of(hasty.url)) as wire:
        if first:
            wire.sendall(first)
            assert b"200 OK" in wire.recv(65536)
        start = time.monotonic()
        wire.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        sent_until_closed(wire, b"X-More: 1\r\n", 2000, SECONDS / 10)
        assert time.monotonic() - start < 10 * SECONDS


def test_a_body_that_drips_is_refused_whoever_sends_it(hasty):
    head = asked("POST", "/inspect", f"Authorization: {BEARER['Authorization']}")
    head = head.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n")
    with socket.create_connection(address_of(hasty.url)) as wire:
        wire.sendall(head)
        start, said = time.monotonic(), b""
        wire.settimeout(SECONDS / 10)
        while not said and time.monotonic() < start + 20 * SECONDS:
            wire.sendall(b"x")
            try:
                said = wire.recv(65536)
            except TimeoutError:
                continue
        assert said.split()[1] == b"408"
        assert SECONDS / 2 < time.monotonic() - start < 10 * SECONDS
    assert hasty.inspect(picture()).status_code == 200  # its place is free again


def test_a_request_that_takes_its_time_to_be_answered_is_not_cut_off(hasty, monkeypatch):
    from pyramidflow.line.pipeline import part

    usual = part.inspect

    def slow(parts, session):
        time.sleep(3 * SECONDS)
        usual(parts, session)

    monkeypatch.setattr(part, "inspect", slow)
    assert hasty.inspect(picture()).status_code == 200
    with socket.create_connection(address_of(hasty.url)) as wire:
        wire.sendall(asked("GET", "/api/events"))
        start, said = time.monotonic(), received(wire, 4 * SECONDS)
    assert b"retry: 2000" in said
    assert time.monotonic() - start >= 4 * SECONDS  # it is open still


def test_headers_without_an_end_are_cut_off(hasty):
    with socket.create_connection(address_of(hasty.url)) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        sent = sent_until_closed(wire, b"x" * 65536, 50_000_000)
    assert sent < 20_000_000  # what the sockets hold


def test_one_address_does_not_take_every_connection(hasty):
    wires = [socket.create_connection(address_of(hasty.url)) for _ in range(60)]
    time.sleep(SECONDS / 4)
    for wire in wires:
        wire.setblocking(False)
    closed = 0
    for wire in wires:
        try:
            closed += wire.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            closed += 1
        finally:
            wire.close()
    assert closed >= 30
    time.sleep(SECONDS)
    assert hasty.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 40"),
        ("Transfer-Encoding: identity, chunked", "Content-Length: 4"),
        ("Content-Length: +4",),
    ],
    ids=str,
)
def test_no_second_request_is_smuggled_in(shared, headers):
    second = asked("GET", "/smuggled")
    answer = exchange(shared.url, asked("POST", "/api/marks", *headers, body=b"0\r\n\r\n" + second))
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b" 404 " not in answer

"""Requests that no proper client sends."""

import socket
import time


def address_of(url):
    host, _, port = url.partition("://")[2].partition(":")
    return host, int(port)


def exchange(url, data, seconds=10):
    """All that the service says until it closes the connection, or the time is over."""
    with socket.create_connection(address_of(url), timeout=seconds) as wire:
        wire.sendall(data)
        return received(wire, seconds)


def received(wire, seconds=10):
    until, found = time.monotonic() + seconds, b""
    while time.monotonic() < until:
        wire.settimeout(max(until - time.monotonic(), 0.01))
        try:
            more = wire.recv(65536)
        except (TimeoutError, ConnectionError):
            break
        if not more:
            break
        found += more
    return found


def asked(method="GET", path="/health", *headers, body=b""):
    """A request that asks to close the connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

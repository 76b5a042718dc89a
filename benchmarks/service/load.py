"""A client that costs little: pictures over connections that stay open, and how long each took.

The requests are made before the clock starts, and of an answer only what tells its end is read: the
processors that the service is measured on are those that the client takes, too.
"""

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RECEIVED_AT_ONCE = 65536


class Connection:
    """A connection that stays open.

    Args:
        port: at this machine.
    """

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> int:
        """Send a request and wait for the whole answer; its status."""
        self._wire.sendall(request)
        head, _, body = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        left = length - len(body)
        while left > 0:
            left -= len(self._received())
        return int(head.split()[1])

    def close(self) -> None:
        """End it."""
        self._wire.close()

    def _until(self, end: bytes) -> bytes:
        found = self._received()
        while end not in found:
            found += self._received()
        return found

    def _received(self) -> bytes:
        found = self._wire.recv(RECEIVED_AT_ONCE)
        if not found:
            raise ConnectionError("the service closed the connection")
        return found


def requests_of(files: Sequence[Path], token: str) -> list[bytes]:
    """Requests that inspect the files."""
    return [
        b"POST /inspect HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (token.encode(), len(content), content)
        for content in (file.read_bytes() for file in files)
    ]


def sent(
    port: int, token: str, folder: str, count: int, connections: int, every: float = 0.0
) -> dict[str, Any]:
    """Send pictures, and say how it went.

    Args:
        port: of the service.
        token: that it takes.
        folder: of pictures; twenty of them are sent in turns.
        count: how many are sent.
        connections: open at once; each sends a picture after the other.
        every: seconds between two pictures, over all connections; 0 sends as fast as they go.

    Returns:
        ``seconds`` from the first answer to the last one, ``answers`` between them, ``statuses``,
        ``milliseconds`` of each answer, and ``processor_seconds`` of this client.
    """
    requests = requests_of(sorted(Path(folder).iterdir())[:20], token)
    numbers, lock = iter(range(count)), threading.Lock()
    start = time.perf_counter()
    statuses: Counter[int] = Counter()
    ends: list[float] = []
    took: list[float] = []

    def work() -> None:
        connection = Connection(port)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                connection.close()
                return
            due = start + number * every
            time.sleep(max(0.0, due - time.perf_counter()))
            begun = due if every else time.perf_counter()
            status = connection.ask(requests[number % len(requests)])
            end = time.perf_counter()
            with lock:
                statuses[status] += 1
                ends.append(end)
                took.append(1e3 * (end - begun))

    threads = [threading.Thread(target=work) for _ in range(connections)]
    before = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "seconds": max(ends) - min(ends),
        "answers": len(ends) - 1,
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "milliseconds": took,
        "processor_seconds": time.process_time() - before,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values lie at or below."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)

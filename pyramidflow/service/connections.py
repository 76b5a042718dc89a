"""Connections that have to say what they want in time and in few words."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SECONDS_TO_ASK: Final = 10.0
"""From a connection, or from a request's first byte, to the end of its headers."""

MOST_HEADER_BYTES: Final = 65_536

MOST_OF_ONE: Final = 128
"""Connections from one address."""


def hurried(
    seconds: float = SECONDS_TO_ASK, most_of_one: int = MOST_OF_ONE
) -> type[asyncio.Protocol]:
    """The HTTP protocol of uvicorn, which waits for ever, with an end to the waiting.

    Without it a few hundred connections that send a header now and then would keep everybody else
    out. A connection that goes on sending long after its answer is closed likewise.

    Args:
        seconds: that a connection has to ask.
        most_of_one: connections from one address.
    """

    class Hurried(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._asking: asyncio.TimerHandle | None = None
            self._is_in_head = False
            self._head_bytes = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            own = [x for x in self.connections if x.client and self.client]
            if sum(other.client[0] == self.client[0] for other in own) > most_of_one:
                self.transport.abort()
                return
            self._wait_for_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._wait_no_more()
            elif self._asking is None:
                self._wait_for_headers()
            # The parser keeps what it has of the headers, however much it is.
            self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
            if self._head_bytes > MOST_HEADER_BYTES:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:  # called by the parser in C alone
            self._is_in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._is_in_head = False
            super().on_headers_complete()

        def _wait_for_headers(self) -> None:
            self._asking = self.loop.call_later(seconds, self.transport.close)

        def _wait_no_more(self) -> None:
            if self._asking is not None:
                self._asking.cancel()
                self._asking = None

    return Hurried

"""What stands before every request: names, rates, sizes, and the headers of every answer."""

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from pyramidflow.service.access import asker_of
from pyramidflow.service.limits import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

INSPECT: Final = "/inspect"
MOST_BYTES: Final = 64_000
"""Of any request but a picture."""

_SECONDS_TO_SEND: Final = 30.0
"""The whole of a request but a picture."""

_SECONDS_TO_UPLOAD: Final = 120.0

HEADERS: Final[dict[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


HSTS: Final = ("strict-transport-security", "max-age=31536000")
"""Of answers over TLS: the browser comes back over TLS alone."""


class Protection:
    """Refuses requests for other hosts, from other sites' pages, too many and too large ones.

    Adds headers to every answer.

    Args:
        app: what answers.
        names: that the service is called by, in lower case; addresses are always taken, since no
            foreign page can be loaded from one.
        limits: of what one asker may ask.
        origin: of the page behind a proxy.
    """

    def __init__(
        self, app: Application, names: frozenset[str], limits: Limits, origin: str | None = None
    ) -> None:
        self._app = app
        self._names = names
        self._limits = limits
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        is_secure = scope.get("scheme") == "https"
        answer = _with_headers(send, HEADERS | dict([HSTS]) if is_secure else HEADERS)
        if not self._is_own(headers.get(b"host", "")):
            await _refuse(answer, 421, "the host is not one of this service: see its names.")
            return
        if _is_of_another_site(headers):
            await _refuse(answer, 403, "the request comes from the page of another site.")
            return
        is_picture = scope["path"] == INSPECT
        asker = asker_of(HTTPConnection(scope), self._origin)
        limits = self._limits
        wait = (limits.inspections if is_picture else limits.requests).take(asker)
        if wait:
            await _refuse(answer, 429, "too many requests: ask again later.", math.ceil(wait))
            return
        most = limits.most_upload_bytes if is_picture else MOST_BYTES
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > most:
            await _refuse(answer, 413, f"the request is too large: at most {most} bytes are taken.")
            return
        seconds = _SECONDS_TO_UPLOAD if is_picture else _SECONDS_TO_SEND
        await self._app(scope, _limited(receive, most, seconds), answer)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _limited(receive: Receive, most: int, seconds: float) -> Receive:
    """Receive a body of at most so many bytes as one message, within a time for the whole."""
    is_complete = False

    async def limited() -> Message:
        nonlocal is_complete
        if is_complete:
            return await receive()  # tells when the other side goes, which may take for ever
        is_complete = True
        try:
            return await asyncio.wait_for(_whole(receive, most), seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(408, "the request did not come in time.") from error

    return limited


async def _whole(receive: Receive, most: int) -> Message:
    pieces, taken = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        pieces.append(message.get("body", b""))
        taken += len(pieces[-1])
        if taken > most:
            raise HTTPException(413, f"the request is too large: at most {most} bytes are taken.")
        if not message.get("more_body", False):
            return {"type": "http.request", "body": b"".join(pieces), "more_body": False}


def _is_of_another_site(headers: dict[bytes, str]) -> bool:
    """Whether a browser says that another site's page asks; a person may follow its links."""
    is_other = headers.get(b"sec-fetch-site") == "cross-site"
    return is_other and headers.get(b"sec-fetch-mode") != "navigate"


def _with_headers(send: Send, wanted: dict[str, str]) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {key.lower() for key, _ in message.get("headers", [])}
            message["headers"] = [
                *message.get("headers", []),
                *(
                    (key.encode(), value.encode())
                    for key, value in wanted.items()
                    if key.encode() not in there
                ),
            ]
        await send(message)

    return answer


async def _refuse(send: Send, status: int, sentence: str, after: int | None = None) -> None:
    body = f'{{"detail": "{sentence}"}}'.encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if after is not None:
        headers.append((b"retry-after", str(after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

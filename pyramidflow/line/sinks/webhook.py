"""Records to a web server, signed."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from pydantic import Field, field_validator

from pyramidflow.io.lines import json_line
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.secrets import in_environment, in_file, secret
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway, SinkRefused, SinkSettings

if TYPE_CHECKING:
    from httpx import Client, Response

_ABOUT_THE_PLACE: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 423, 425, 429})
"""Refusals that another day, another password or another address can mend; the other answers from
400 to 499 are about the record."""


class WebhookSettings(SinkSettings):
    """Settings of :class:`WebhookSink`.

    Attributes:
        url: of the server.
        secret_env: variable of the environment that holds the secret of the signature.
        secret_file: file that holds it.
        token_env: variable of the environment that holds a bearer token.
        token_file: file that holds it.
        timeout: of a request.
    """

    url: str = Field(description="Where each record is posted to, https://… or http://….")
    secret_env: str | None = in_environment("the secret that signs requests")
    secret_file: Path | None = in_file("the secret that signs requests")
    token_env: str | None = in_environment("a token, sent as Authorization: Bearer")
    token_file: Path | None = in_file("such a token")
    timeout: float = Field(10.0, gt=0, description="Seconds that a request may take.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the URL of a webhook starts with https:// or http:// and a host")
        if parts.password is not None:
            raise ValueError("the URL holds a password: give a token by token_env or token_file")
        return url


class WebhookSink(Sink):
    """Posts each record as JSON, one after the other.

    Headers: ``Idempotency-Key`` is the part's ``STATION/IDENTITY``, percent-encoded;
    ``X-Pyramidflow-Timestamp`` is the second of the request; with a secret
    ``X-Pyramidflow-Signature`` is ``sha256=`` and the hexadecimal
    ``HMAC-SHA256(secret, timestamp + "." + body)``. An answer from 200 to 299 means that the
    record is there. One from 400 to 499 that is about the record sets it aside, every other answer
    and no answer means: later.
    """

    Settings = WebhookSettings

    def __init__(self, settings: WebhookSettings) -> None:
        super().__init__(settings)
        need("httpx", "line", "the sink webhook")
        self._secret = secret("the webhook's secret", settings, "secret")
        self._token = secret("the webhook's token", settings, "token")
        self._client: Client | None = None
        parts = urlsplit(settings.url)
        # Without a query: some hosts put their secret there.
        self._place = printable(f"{parts.scheme}://{parts.hostname}{parts.path}")

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Post the records.

        Raises:
            SinkAway: the server cannot be reached, or cannot take records now.
            SinkRefused: it does not take a record.
        """
        for done, entry in enumerate(entries):
            answer = self._posted(entry, done)
            code = answer.status_code
            if 200 <= code < 300:
                continue
            reason = f"{self._place} answers {code} {printable(answer.reason_phrase)}".rstrip()
            if 400 <= code < 500 and code not in _ABOUT_THE_PLACE:
                raise SinkRefused(reason, done)
            raise SinkAway(reason, done, _wait_of(answer))

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _posted(self, entry: Entry, done: int) -> "Response":
        import httpx

        if self._client is None:
            # No redirects: a signed record goes where the configuration says.
            self._client = httpx.Client(timeout=self.settings.timeout, follow_redirects=False)
        body = json_line(entry.record)
        try:
            return self._client.post(
                self.settings.url, content=body, headers=self._headers(entry, body)
            )
        except httpx.HTTPError as error:
            raise SinkAway(
                f"{self._place} cannot be reached ({type(error).__name__})", done
            ) from error

    def _headers(self, entry: Entry, body: bytes) -> dict[str, str]:
        record, stamp = entry.record, str(int(time.time()))
        key = f"{quote(record['station'], safe='')}/{quote(record['identity'], safe='')}"
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "X-Pyramidflow-Timestamp": stamp,
        }
        if self._secret is not None:
            headers["X-Pyramidflow-Signature"] = signature(self._secret, stamp, body)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Signature of a request, as a receiver computes it to compare.

    Args:
        secret: that both sides know.
        timestamp: of the header.
        body: as received.

    Returns:
        ``sha256=`` and the HMAC-SHA256 of timestamp, point and body in hexadecimal digits.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _wait_of(answer: "Response") -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None

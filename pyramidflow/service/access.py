"""Who may read and who may change: a token, and sessions of browsers that showed it."""

import hashlib
import hmac
import logging
import os
import secrets
from collections import OrderedDict
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.secrets import secret
from pyramidflow.line.service_settings import ServiceSettings

log = logging.getLogger(__name__)

SHORTEST_TOKEN: Final = 16
"""Characters."""

SESSION_SECONDS: Final = 12 * 3600
"""A shift, and its overtime."""

_MOST_SESSIONS: Final = 1000

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers that a proxy adds: what comes with one of them may come from anywhere."""


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def asker_of(connection: HTTPConnection, origin: str | None) -> str:
    """Who asks, for limits: an address, or who comes through a proxy on this machine.

    What anybody sends through the proxy must not use up what programs on this machine may ask: they
    have the same address. From another machine such a header says nothing: its sender makes it up.

    Args:
        connection: of the request.
        origin: of the page behind a proxy.
    """
    address = "" if connection.client is None else connection.client.host
    host = urlsplit(f"//{connection.headers.get('host', '')}").hostname
    is_forwarded = is_far(connection) or (origin is not None and host == urlsplit(origin).hostname)
    return f"{address} through a proxy" if is_forwarded and is_loopback(address) else address


def is_far(connection: HTTPConnection) -> bool:
    """Whether a proxy says that it forwards a request."""
    return any(name in connection.headers for name in _FORWARDED)


def token_of(settings: ServiceSettings) -> str | None:
    """The token that the settings name; a file that is missing is made.

    Raises:
        InputError: it cannot be read, is too short, or there is none and the service would be
            reached from other machines.
    """
    if settings.token_file is not None and not settings.token_file.exists():
        _make(settings.token_file)
    found = secret("the token of the service", settings, "token")
    if settings.token_file is not None:
        _warn_of_readers(settings.token_file)
    if found is None:
        if not is_loopback(settings.host):
            raise InputError(
                f"the service is to listen at {printable(settings.host)}, which other machines "
                "reach, but has no token: name token_file or token_env, or listen at 127.0.0.1."
            )
        return None
    if len(found) < SHORTEST_TOKEN:
        raise InputError(
            f"the token of the service has {len(found)} characters: give at least "
            f"{SHORTEST_TOKEN} that nobody guesses, or name a token_file that is not there yet."
        )
    return found


def _make(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(
            f"{printable(file)} cannot be made for the token ({error.strerror}): name a place that "
            "can be written."
        ) from error
    with os.fdopen(number, "w", encoding="ascii") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")


def _warn_of_readers(file: Path) -> None:
    if os.name == "posix" and file.is_file() and file.stat().st_mode & 0o077:
        log.warning("others on this machine can read %s: chmod 600", printable(file))


class Access:
    """Answers who may read and who may change.

    Readers on this machine need nothing where the service listens at a loopback address. All else
    needs the token: in the header ``Authorization: Bearer …``, or shown once for a session, whose
    cookie no script reads and no other site sends.

    Args:
        token: that allows changes; ``None`` refuses them all.
        is_open: whether reading needs no token, unless a proxy forwards it.
        cookie: name of the session's cookie.
        origin: of the page behind a proxy.
    """

    def __init__(
        self, token: str | None, is_open: bool, cookie: str, origin: str | None = None
    ) -> None:
        self._digest = None if token is None else _digest(token)
        self.is_open = is_open
        self.cookie = cookie
        self._origin = origin
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._lock = Lock()

    @property
    def has_token(self) -> bool:
        """Whether anybody may change anything."""
        return self._digest is not None

    def fits(self, token: str) -> bool:
        """Whether this is the token; takes as long for every wrong one."""
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)

    def begin(self) -> str:
        """A new session's secret, for its cookie."""
        made = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_digest(made)] = monotonic() + SESSION_SECONDS
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return made

    def end(self, connection: HTTPConnection) -> None:
        """End the session of a request."""
        with self._lock:
            self._sessions.pop(_digest(connection.cookies.get(self.cookie, "")), None)

    def bearer(self, connection: HTTPConnection) -> str | None:
        """The token in a request's header; ``None`` where there is none."""
        kind, _, value = connection.headers.get("authorization", "").partition(" ")
        return value.strip() if kind.lower() == "bearer" and value.strip() else None

    def asker(self, connection: HTTPConnection) -> str:
        """Who sends a request, as wrong tokens are counted."""
        return asker_of(connection, self._origin)

    def is_in_session(self, connection: HTTPConnection) -> bool:
        """Whether a request comes with the cookie of a session."""
        given = connection.cookies.get(self.cookie)
        if not given:
            return False
        with self._lock:
            return self._sessions.get(_digest(given), 0.0) > monotonic()

    def may_read(self, connection: HTTPConnection) -> bool:
        """Whether a request may see what the line did."""
        given = self.bearer(connection)
        if given is not None:
            return self.fits(given)
        is_near = self.is_open and not is_far(connection)
        return is_near or self.is_in_session(connection)

    def may_change(self, connection: HTTPConnection) -> bool:
        """Whether a request may change something: by its header, or from the service's own page."""
        given = self.bearer(connection)
        if given is not None:
            return self.fits(given)
        return self.is_in_session(connection) and self.is_from_own_page(connection)

    def is_from_own_page(self, connection: HTTPConnection) -> bool:
        """Whether a browser says that a request comes from a page of this very service."""
        given = connection.headers.get("origin")
        own = f"{connection.url.scheme}://{connection.headers.get('host', '')}"
        return given is not None and given in (own, self._origin)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()

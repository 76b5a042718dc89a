"""The service beside its line, in threads of its own."""

import logging
import socket
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.history.store import Store, sqlite_url
from pyramidflow.line.line import Line
from pyramidflow.line.service_settings import ServiceSettings
from pyramidflow.line.started import Started

log = logging.getLogger(__name__)

_SECONDS_TO_START: Final = 20.0
_SECONDS_TO_END: Final = 5
_MOST_CONNECTIONS: Final = 500
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: authenticated, with forward secrecy. TLS 1.3 has its own."""


class Service(Started):
    """The page and the interface of a line, from its start to its stop.

    ::

        line = Line("line.toml")
        service = Service(line, settings)
        with line, service:
            line.wait()

    Args:
        line: not started.
        settings: of the service.

    Raises:
        InputError: the extra ``service`` is missing, the line was started, the token cannot be
            had, or there is none where other machines reach the service.
    """

    def __init__(self, line: Line, settings: ServiceSettings) -> None:
        for library in ("fastapi", "uvicorn", "prometheus_client"):
            need(library, "service", "the service")
        from pyramidflow.service.access import token_of
        from pyramidflow.service.app import watched

        self._line = line
        self._settings = settings
        self._token = token_of(settings)
        self._seen = watched(line)
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where the page is."""
        scheme = "http" if self._settings.certificate is None else "https"
        host = self._settings.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._settings.port}/"

    def start(self) -> None:
        """Begin to answer; the line runs already.

        Raises:
            InputError: the address is taken or none of this machine's, or the certificate cannot
                be used.
        """
        import uvicorn

        from pyramidflow.service.access import is_loopback
        from pyramidflow.service.app import made_app, made_context, protected
        from pyramidflow.service.connections import hurried

        listening = self._listen()
        self._store = Store.open(sqlite_url(self._line.settings.store))
        context = made_context(self._line, self._store, self._seen, self._token, self._settings)
        certificate, key = self._settings.certificate, self._settings.certificate_key
        try:
            configuration = uvicorn.Config(
                protected(made_app(context), self._settings),
                http=hurried(),
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=10,
                timeout_graceful_shutdown=_SECONDS_TO_END,
                ssl_certfile=None if certificate is None else str(certificate),
                ssl_keyfile=None if key is None else str(key),
                ssl_ciphers=_CIPHERS,
            )
            configuration.load()
        except OSError as error:
            listening.close()
            self._store.close()
            raise InputError(
                f"the certificate {printable(certificate)} cannot be used ({error.strerror}): "
                "give PEM files that belong together."
            ) from error
        self._server = uvicorn.Server(configuration)
        self._begin(lambda: self._server.run(sockets=[listening]), "service")
        self._begin(self._sample, "samples")
        self._wait_for_start()
        log.info("the page is at %s", self.url)
        if self._token is None:
            log.info("nothing can be changed on it: it has no token (token_file, token_env)")
        if certificate is None and not is_loopback(self._settings.host):
            log.warning("the page is not encrypted: others in the network can read its token")

    def stop(self) -> None:
        """Answer what came, and end."""
        self._ending.set()
        watch, _, _ = self._seen
        watch.is_over = True
        if self._threads:
            self._server.should_exit = True
            for thread in self._threads:
                thread.join(2 * _SECONDS_TO_END)
            self._store.close()
            self._threads = []

    def _listen(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        try:
            [family, *_, address] = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.create_server(address[:2], family=family, backlog=128)
        except OSError as error:
            raise InputError(
                f"{printable(host)}:{port} cannot be listened at ({error.strerror}): give another "
                "port, or an address of this machine."
            ) from error
        found = int(listening.getsockname()[1])
        self._settings = self._settings.model_copy(update={"port": found})
        return listening

    def _begin(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _sample(self) -> None:
        from pyramidflow.service.watch import SECONDS_PER_SAMPLE

        watch, _, status = self._seen
        while not self._ending.wait(SECONDS_PER_SAMPLE):
            try:
                watch.sample(status())
            except Exception:  # the next one may do; a line that stops answers no more
                if not self._ending.is_set():
                    log.exception("the line cannot be sampled")

    def _wait_for_start(self) -> None:
        until = monotonic() + _SECONDS_TO_START
        while not self._server.started:
            if not self._threads[0].is_alive() or monotonic() > until:
                raise InputError("the service does not start: see its log.")
            sleep(0.01)

"""Brokers and databases for tests: those that run here, or own ones that may be stopped.

With ``PYRAMIDFLOW_SERVICES=1`` a service that is missing fails the test; else it skips it.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.line.records import eventually

MUST_RUN = os.environ.get("PYRAMIDFLOW_SERVICES") == "1"


def missing(reason: str) -> None:
    """Skip the test, or fail it where every service must be there."""
    if MUST_RUN:
        pytest.fail(f"PYRAMIDFLOW_SERVICES=1, but {reason}")
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str) -> str:
    """Where a program lies; Debian keeps PostgreSQL's out of the path."""
    places = [os.environ["PATH"], "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        missing(f"{name} is not installed")
    return str(found)


class Broker:
    """An own Mosquitto, which may be stopped and started again."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._program = program("mosquitto")
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(f"listener {self.port} 127.0.0.1\n{settings}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert eventually(lambda: answers(self.port)), "mosquitto does not start"

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


class Postgres:
    """An own PostgreSQL in a folder of its own, which may be stopped and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="pyramidflow-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            if shutil.which("runuser") is None:
                missing("PostgreSQL does not run as root, and there is no runuser")
            self._as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._as_user, program(name), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)


@contextlib.contextmanager
def broker_port(folder: Path) -> Iterator[int]:
    """The port of a broker: the machine's, or an own one where none runs."""
    if answers(1883):
        yield 1883
        return
    broker = Broker(folder)
    broker.start()
    try:
        yield broker.port
    finally:
        broker.stop()


@contextlib.contextmanager
def postgres_url() -> Iterator[str]:
    """The URL of an empty database in the machine's PostgreSQL, or in an own one."""
    import psycopg

    if not answers(5432):
        server = Postgres()
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
            server.remove()
        return
    name = f"pyramidflow_{secrets.token_hex(6)}"
    place = "postgresql://postgres@127.0.0.1:5432"
    with psycopg.connect(f"{place}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{place}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

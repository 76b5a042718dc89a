"""A service in a process of its own, as benchmarks watch it."""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.process import ROOT

TOKEN = "of a benchmark that nobody else reaches"
SECONDS_TO_START = 120


@dataclass(frozen=True)
class Served:
    """A running service.

    Attributes:
        port: at this machine.
        process: of it.
    """

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def processor_seconds(self) -> float:
        """That it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory(self) -> float:
        """Resident, in MB of 10⁶ bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def service(folder: str, threads: int) -> Iterator[Served]:
    """A service that can inspect; store, records and log lie in a folder of their own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "line.toml").write_text(
        f'''store = "line.sqlite"
[service]
port = 0
token_env = "PYRAMIDFLOW_TOKEN"
requests_per_minute = 1_000_000
inspections_per_minute = 1_000_000
[[stations]]
detector = "{folder}/part.safetensors"
device = "cpu"
threads = {threads}
source = {{kind = "python"}}
[[sinks]]
kind = "jsonl"
folder = "records"
''',
        "utf-8",
    )
    with served([str(place / "line.toml")], place / "log", threads) as found:
        wait_until_ready(found)
        yield found


@contextmanager
def served(
    arguments: Sequence[str], log: Path, threads: int, more: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """``pyramidflow serve`` with arguments, until the end of the context.

    Args:
        arguments: of the command.
        log: what it says goes there.
        threads: of OpenMP.
        more: variables of its environment.
    """
    environment = os.environ | {"PYRAMIDFLOW_TOKEN": TOKEN, "OMP_NUM_THREADS": str(threads)}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "pyramidflow", "serve", *arguments],
            stdout=said,
            stderr=said,
            cwd=ROOT,
            env=environment | dict(more or {}),
        )
    try:
        yield Served(_port_in(log, process), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def wait_until_ready(found: Served) -> None:
    """Wait until every station can inspect.

    Raises:
        RuntimeError: they cannot within a time.
    """
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=60)
        connection.request("GET", "/ready")
        status = connection.getresponse().status
        connection.close()
        if status == 200:
            return
        time.sleep(0.2)  # of 600 requests a minute
    raise RuntimeError("the service does not become ready")


def _port_in(log: Path, process: "subprocess.Popen[bytes]") -> int:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"the page is at http://127\.0\.0\.1:(\d+)/", log.read_text("utf-8"))
        if found:
            return int(found[1])
        time.sleep(0.01)
    raise RuntimeError(f"the service did not start:\n{log.read_text('utf-8')}")

"""A line in a process of its own, as benchmarks and tests by hand watch it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.harness.process import ROOT

TOML = """\
store = "line.sqlite"

[[stations]]
name = "press"
detector = "part.safetensors"
threads = {threads}
source = {{kind = "folder", path = "incoming", after = "delete"}}

[[sinks]]
kind = "jsonl"
folder = "records"

[[sinks]]
kind = "pictures"
folder = "pictures"
kinds = ["image"]
keep = "all"
most_bytes = 50_000_000

[[sinks]]
kind = "database"
url = "sqlite:///{folder}/parts.sqlite"
{more}
"""


def write_configuration(folder: Path, threads: int, more: str = "") -> None:
    """A watched folder whose pictures go to JSONL, pictures and a database.

    Args:
        folder: of the line.
        threads: of an inspection.
        more: further tables, such as a broker's.
    """
    (folder / "incoming").mkdir(exist_ok=True)
    text = TOML.format(threads=threads, folder=folder, more=more)
    (folder / "line.toml").write_text(text, "utf-8")


def mqtt(broker: str | None) -> str:
    """The table of a sink that sends to ``HOST`` or ``HOST:PORT``; nothing without a broker."""
    if broker is None:
        return ""
    host, _, port = broker.partition(":")
    return f'[[sinks]]\nkind = "mqtt"\nhost = "{host}"\nport = {port or 1883}\n'


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start the line; its log is ``line.log``."""
    with (folder / "line.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pyramidflow", "run", str(folder / "line.toml")],
            stdout=log,
            stderr=log,
            cwd=ROOT,
        )


def stop(process: "subprocess.Popen[bytes]", seconds: float = 120) -> None:
    """Ask the line to stop, and wait."""
    process.send_signal(signal.SIGTERM)
    process.wait(seconds)


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    """Look until something is so.

    Raises:
        TimeoutError: it did not become so.
    """
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {seconds:.0f} s")
        time.sleep(0.1)


def is_empty(folder: Path) -> bool:
    """Whether no picture waits in the watched folder."""
    with os.scandir(folder / "incoming") as found:
        return not any(not entry.name.startswith(".") for entry in found)


def parts_in(database: Path) -> tuple[int, int]:
    """Rows, and different identities, of the parts in a SQLite file."""
    if not database.exists():
        return 0, 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
        try:
            [row] = found.execute("select count(*), count(distinct identity) from parts")
        except sqlite3.OperationalError:  # the line is still making it
            return 0, 0
    return int(row[0]), int(row[1])


def parts_at(url: str) -> tuple[int, int]:
    """Rows, and different identities, of the parts in a database by its URL; 0 while it is away."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    words = "select count(*), count(distinct identity) from parts"
    try:
        with engine.connect() as found:
            [row] = found.execute(sqlalchemy.text(words))
    except sqlalchemy.exc.SQLAlchemyError:
        return 0, 0
    finally:
        engine.dispose()
    return int(row[0]), int(row[1])


def put(folder: Path, name: str, content: bytes) -> None:
    """Put a picture into the watched folder, renamed into its place."""
    new = folder / "incoming" / f".{name}.new"
    new.write_bytes(content)
    new.replace(folder / "incoming" / name)


def is_logged(folder: Path, words: str) -> bool:
    """Whether the line's log has some words."""
    return words in (folder / "line.log").read_text("utf-8", errors="replace")


def memory_and_files(process: "subprocess.Popen[bytes]") -> tuple[float, int]:
    """Resident memory in MB of 10⁶ bytes, and open descriptors."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6, len(os.listdir(f"/proc/{process.pid}/fd"))

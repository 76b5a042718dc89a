import json
import multiprocessing
import os
import random
import signal
import threading
from time import sleep

import pytest

from pyramidflow.line.history.store import Store, sqlite_url
from pyramidflow.line.outbox.outbox import Outbox
from tests.line.outbox import killed_line
from tests.line.records import record
from tests.line.services import Postgres

KILLS = int(os.environ.get("PYRAMIDFLOW_KILLS", "12"))
"""Moments at which the process is killed; 50 by hand."""


def run_and_kill(folder, url, count):
    """Whether the process was killed before it was done."""
    # A forked process: starting Python anew takes longer than what is tested.
    process = multiprocessing.get_context("fork").Process(
        target=killed_line.keep_records, args=(folder, url, count), daemon=True
    )
    process.start()
    sleep(random.uniform(0.02, 1))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode != 0


def check_every_part_once(folder, url, promised):
    outbox = Outbox(folder / "line.sqlite", killed_line.sinks(folder, url))
    outbox.start()
    outbox.close(120)
    store = Store.open(sqlite_url(folder / "line.sqlite"))
    kept = [part.record["identity"] for part in store.parts()]
    store.close()
    assert len(kept) >= promised > 0
    assert kept == [record(number).identity for number in range(len(kept))]

    database = Store.open(url)
    assert [part.record["identity"] for part in database.parts()] == kept
    database.close()
    texts = [path.read_text() for path in sorted((folder / "lines").glob("*.jsonl"))]
    assert [json.loads(line)["identity"] for line in "".join(texts).splitlines()] == kept
    pictures = [int(path.read_bytes()) for path in (folder / "pictures").rglob("*.png")]
    assert sorted(pictures) == list(range(len(kept)))


@pytest.fixture
def server():
    made = Postgres()
    made.start()
    yield made
    made.stop()
    made.remove()


@pytest.fixture
def disturbed(server):
    """Calls that let the database stop and start from now on, and no longer."""
    is_done = threading.Event()

    def stop_and_start():
        while not is_done.wait(random.uniform(0.5, 2)):
            server.stop()
            sleep(random.uniform(0.1, 0.6))
            server.start()

    disturbing = threading.Thread(target=stop_and_start)

    def begin():
        disturbing.start()

    def end():
        is_done.set()
        if disturbing.ident is not None:
            disturbing.join()

    yield begin, end
    end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_any_moment_while_the_database_stops_and_starts(tmp_path, server, disturbed):
    random.seed(7)
    # Loads the libraries, so that the processes below spend their time with records.
    Store.open(server.url, create=True).close()
    Outbox(tmp_path / "line.sqlite", {}).close()
    begin, end = disturbed
    begin()
    kills = sum(run_and_kill(tmp_path, server.url, 20_000) for _ in range(KILLS))
    end()
    assert kills == KILLS
    promised = max(int(word) for word in (tmp_path / "said").read_text().split())
    check_every_part_once(tmp_path, server.url, promised)

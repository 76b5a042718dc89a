import json
import os
import random
import signal
import subprocess
import sys
from time import sleep

from pyramidflow.line.outbox import Outbox
from pyramidflow.line.sinks.jsonl import JsonlSink

KILLED = """
import sys
from pathlib import Path
from pyramidflow.line.outbox import Outbox, Outgoing
from pyramidflow.line.sinks.jsonl import JsonlSink
from tests.line.records import record

folder = Path(sys.argv[1])
sink = JsonlSink(JsonlSink.Settings(folder=folder / "out"))
outbox = Outbox(folder / "line.sqlite", {"jsonl": sink})
outbox.start()
known = outbox.known("press", [f"{number:05}.png" for number in range(20000)])
for number in range(len(known), 20000, 7):
    outbox.put([Outgoing(record(place)) for place in range(number, number + 7)])
    print(number + 7, flush=True)
"""


def test_a_process_that_is_killed_at_any_moment_loses_nothing_and_writes_nothing_twice(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    random.seed(5)
    promised = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            promised = int(process.stdout.readline())
            sleep(random.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            promised = max([promised, *map(int, process.stdout.read().split())])
    sink = JsonlSink(JsonlSink.Settings(folder=tmp_path / "out"))
    outbox = Outbox(tmp_path / "line.sqlite", {"jsonl": sink})
    outbox.start()
    outbox.close(30)
    lines = [
        line
        for file in sorted((tmp_path / "out").iterdir())
        for line in file.read_text().split("\n")
    ]
    count = sum(map(bool, lines))
    assert count >= promised > 0
    assert [json.loads(line)["identity"] for line in lines if line] == [
        f"{number:05}.png" for number in range(count)
    ]

"""What a process does until a test kills it."""

from pathlib import Path
from time import sleep

from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from pyramidflow.line.sinks.database import DatabaseSink
from pyramidflow.line.sinks.jsonl import JsonlSink
from pyramidflow.line.sinks.pictures import PicturesSink
from tests.line.records import record


def sinks(folder: Path, url: str):
    return {
        "database": DatabaseSink(DatabaseSink.Settings(url=url)),
        "jsonl": JsonlSink(JsonlSink.Settings(folder=folder / "lines", largest_bytes=20_000)),
        "pictures": PicturesSink(
            PicturesSink.Settings(folder=folder / "pictures", kinds=("overlay",), keep="all")
        ),
    }


def keep_records(folder: Path, url: str, count: int) -> None:
    """Put records with pictures, from the first that the store does not know.

    The file ``said`` holds how many are safe.
    """
    made = sinks(folder, url)
    outbox = Outbox(folder / "line.sqlite", made)
    outbox.start()
    names = [f"{number:05}.png" for number in range(count)]
    first = len(outbox.known("press", names))
    for start in range(first, count, 3):
        kept = []
        for number in range(start, min(start + 3, count)):
            item = record(number)
            places = made["pictures"].pictures(item)
            kept.append(Outgoing(item.changed(pictures=places), {"overlay": b"%d" % number}))
        outbox.put(kept)
        with open(folder / "said", "a") as said:
            said.write(f"{start + len(kept)}\n")
        sleep(0.002)
    outbox.close(60)

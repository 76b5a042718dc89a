"""What a bulk inspection has written, as tests read it."""

import csv
import json
import sqlite3
from contextlib import closing

OF_A_RUN = ("time", "times", "queues")
"""Fields of a record that differ between two runs."""


def lines_in(output):
    """All records of the JSONL files, in their order; half a line fails."""
    found = b"".join(path.read_bytes() for path in sorted((output / "records").glob("*.jsonl")))
    assert found.endswith(b"\n")
    return [json.loads(line) for line in found.splitlines()]


def by_path(output):
    """The lasting fields of each record, by path; a record that stands there twice fails."""
    records = lines_in(output)
    found = {record["path"]: lasting(record) for record in records}
    assert len(found) == len(records)
    return found


def lasting(record):
    return {name: value for name, value in record.items() if name not in OF_A_RUN}


def rows_in(output):
    paths = sorted((output / "records").glob("*.csv"))
    return [row for path in paths for row in csv.DictReader(path.open(encoding="utf-8"))]


def identities_in(database):
    with closing(sqlite3.connect(database)) as found:
        return [identity for (identity,) in found.execute("select identity from parts")]

"""What sinks refuse: set aside, and sent again."""

import sqlite3

import pytest

from pyramidflow.line.outbox.outbox import Limits, Outbox, OutboxFull
from pyramidflow.line.outbox.refused import send_again
from pyramidflow.line.sinks.sink import SinkRefused
from tests.line.kept import Kept, away, refuses, started, takes
from tests.line.records import eventually, outgoing, record, records, rows


def test_a_refused_entry_is_set_aside_and_the_others_go_on(store):
    sink = Kept()

    def refuses_the_fifth(entries):
        for place, entry in enumerate(entries):
            if entry.record["identity"] == "00004.png":
                sink.entries += entries[:place]
                raise SinkRefused("answer 422", done=place)

    sink.problem = refuses_the_fifth
    outbox = Outbox(store, {"s": sink})
    outbox.put(outgoing(records(10)))
    outbox.start()
    assert eventually(lambda: len(sink.entries) == 9)
    assert eventually(lambda: outbox.status()["sinks"]["s"]["waiting"] == 0)
    assert outbox.status()["sinks"]["s"]["refused"] == 1
    outbox.close()
    assert "00004.png" not in sink.identities
    assert rows(
        store, "SELECT sink, identity, reason FROM refused JOIN parts ON parts.id = part"
    ) == [("s", "00004.png", "answer 422")]


def test_what_is_sent_again_counts_among_what_waits(store):
    """Another process lets it wait again; the running line's limit must hold for it, too."""
    sink = Kept(problem=refuses)
    outbox = started(store, Limits(records=10), s=sink)
    outbox.put(outgoing(records(5)))
    assert eventually(lambda: outbox.status()["sinks"]["s"]["refused"] == 5)
    sink.problem = takes
    assert send_again(store) == 5
    assert eventually(lambda: len(sink.entries) == 5)
    assert eventually(lambda: outbox.status()["sinks"]["s"]["waiting"] == 0)

    sink.problem = away
    outbox.put(outgoing([record(number) for number in range(5, 13)]))
    with pytest.raises(OutboxFull, match="8 records wait"):
        outbox.put(outgoing([record(number) for number in range(13, 16)]))
    outbox.close(0.1)


def test_what_is_sent_again_while_no_line_runs_is_counted_once(store):
    sink = Kept(problem=refuses)
    outbox = started(store, s=sink)
    outbox.put(outgoing(records(5)))
    assert eventually(lambda: outbox.status()["sinks"]["s"]["refused"] == 5)
    outbox.close()
    assert send_again(store) == 5

    outbox = Outbox(store, {"s": Kept()}, Limits(records=10))
    with pytest.raises(OutboxFull, match="5 records wait"):
        outbox.put(outgoing([record(number) for number in range(5, 11)]))
    outbox.put(outgoing([record(number) for number in range(5, 10)]))
    with pytest.raises(OutboxFull, match="10 records wait"):
        outbox.put(outgoing([record(11)]))
    outbox.close(0.1)


def test_a_store_of_an_older_version_is_taken_up(store):
    sink = Kept(problem=away)
    outbox = Outbox(store, {"s": sink})
    outbox.put(outgoing(records(3)))
    outbox.close(0.1)
    with sqlite3.connect(store) as connection:
        connection.execute("DROP TABLE resent")
        connection.execute("PRAGMA user_version = 1")
    assert send_again(store) == 0
    back = Kept()
    outbox = started(store, s=back)
    outbox.close(20)
    assert len(back.entries) == 3

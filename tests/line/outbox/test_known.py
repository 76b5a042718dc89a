"""Which identities are known, and what is known of them."""

import sqlite3
from time import monotonic

from pyramidflow.line.outbox.outbox import Limits, Outbox
from tests.line.kept import Kept, started
from tests.line.records import eventually, outgoing, record, records, rows


def test_an_identity_that_no_database_takes_is_delivered_and_known(store):
    sink = Kept(["overlay"])
    outbox = started(store, Limits(history_days=1), s=sink)
    odd = [record(1, identity="a\0b"), record(2, identity="T\udcfcr.png")]
    outbox.put(outgoing(odd, overlay=b"o"))
    assert eventually(lambda: outbox.status()["sinks"]["s"]["waiting"] == 0)
    assert [entry.pictures for entry in sink.entries] == [{"overlay": b"o"}] * 2
    texts = {"a\\x00b", "T\\xfcr.png"}
    assert outbox.known("press", sorted(texts)) == texts

    outbox._next_pruning = monotonic()
    outbox.put(outgoing([record(3, time=None)]))
    assert rows(store, "SELECT count(*) FROM parts") == [(1,)]
    outbox.put(outgoing(odd, overlay=b"o"))
    outbox.close(20)
    assert len(sink.entries) == 3


def test_on_a_full_disk_nothing_is_forgotten(store, monkeypatch):
    def is_full(spool, station, present):
        raise sqlite3.OperationalError("database or disk is full")

    outbox = Outbox(store, {})
    monkeypatch.setattr("pyramidflow.line.outbox.spool.Spool.forget_but", is_full)
    assert outbox.keep_only("press", []) == 0
    outbox.close()


def test_the_record_of_an_identity_can_be_asked_for(store):
    outbox = Outbox(store, {})
    outbox.put(outgoing(records(2)))
    assert outbox.earlier("press", "00001.png") == record(1).as_dict()
    assert outbox.earlier("lathe", "00001.png") is None
    outbox.close()

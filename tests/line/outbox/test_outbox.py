import os
import random
import sqlite3
import subprocess
from threading import Event
from time import monotonic

import pytest

from pyramidflow.errors import InputError
from pyramidflow.line.outbox.deliverer import back_off
from pyramidflow.line.outbox.outbox import Limits, Outbox, OutboxFull
from pyramidflow.line.sinks.sink import SinkAway
from tests.line.kept import Kept, away, started, takes
from tests.line.records import eventually, outgoing, record, records, rows


def test_each_sink_gets_every_record_once_and_in_order(store):
    first, second = Kept(), Kept()
    outbox = started(store, first=first, second=second)
    for start in range(0, 1000, 37):
        outbox.put(outgoing(records(1000)[start : start + 37]))
    outbox.close(20)

    expected = [item.as_dict() for item in records(1000)]
    assert [entry.record for entry in first.entries] == expected
    assert [entry.record for entry in second.entries] == expected
    assert rows(store, "SELECT count(*) FROM deliveries") == [(0,)]
    assert first.is_closed


def test_what_is_put_is_on_the_disk_before_a_sink_is_asked(store):
    outbox = Outbox(store, {"s": Kept()})
    outbox.put(outgoing(records(3)))

    assert rows(store, "SELECT identity FROM parts ORDER BY id") == [
        ("00000.png",),
        ("00001.png",),
        ("00002.png",),
    ]
    assert rows(store, "SELECT count(*) FROM deliveries WHERE sink = 's'") == [(3,)]
    outbox.close()


def test_a_sink_that_is_away_loses_nothing_and_delays_nobody(store, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.deliverer.FIRST_DELAY", 0.01)
    gone, there = Kept(problem=away), Kept()
    outbox = started(store, gone=gone, there=there)
    outbox.put(outgoing(records(50)))
    assert eventually(lambda: len(there.entries) == 50)
    status = outbox.status()["sinks"]["gone"]
    assert (status["waiting"], status["oldest_waiting"]) == (50, "2026-03-01 06:00:00.250000")
    assert eventually(lambda: outbox.status()["sinks"]["gone"]["failures_in_a_row"] > 2)
    assert outbox.status()["sinks"]["gone"]["last_error"] == "the host is away"

    gone.problem = takes
    assert eventually(lambda: len(gone.entries) == 50)
    outbox.close()
    assert gone.identities == there.identities


def test_what_waits_survives_a_restart(store):
    gone = Kept(problem=away)
    outbox = started(store, s=gone)
    outbox.put(outgoing(records(20)))
    outbox.close(0.1)

    back = Kept()
    outbox = started(store, s=back)
    outbox.close(20)
    assert back.identities == [item.identity for item in records(20)]


def test_an_entry_that_was_delivered_before_a_failure_does_not_come_again(store, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.deliverer.FIRST_DELAY", 0.01)
    sink = Kept()
    has_failed = Event()

    def breaks_once(entries):
        if not has_failed.is_set():
            has_failed.set()
            sink.entries += entries[:3]
            raise SinkAway("the connection broke", done=3)

    sink.problem = breaks_once
    outbox = Outbox(store, {"s": sink})
    outbox.put(outgoing(records(10)))
    outbox.start()
    assert eventually(lambda: len(sink.entries) == 10)
    outbox.close()
    assert sink.identities == [item.identity for item in records(10)]


def test_an_identity_that_is_known_is_left_out(store):
    sink = Kept()
    outbox = started(store, s=sink)
    outbox.put(outgoing([record(1), record(2)]))
    outbox.put(outgoing([record(2), record(3), record(3), record(2, station="lathe")]))
    outbox.close(20)

    assert sink.identities == ["00001.png", "00002.png", "00003.png", "00002.png"]
    assert sink.entries[-1].record["station"] == "lathe"


def test_a_sink_of_a_station_gets_only_its_records(store):
    press, every = Kept(stations=("press",)), Kept()
    outbox = started(store, press=press, every=every)
    outbox.put(outgoing([record(1), record(2, station="lathe")]))
    outbox.close(20)

    assert press.identities == ["00001.png"]
    assert every.identities == ["00001.png", "00002.png"]


def test_pictures_wait_for_the_last_sink_that_wants_them(store):
    overlays, bare = Kept(["overlay"]), Kept()
    both = Kept(["overlay", "map"], problem=away)
    outbox = started(store, overlays=overlays, both=both, bare=bare)
    outbox.put(outgoing(records(2), overlay=b"o" * 1000, map=b"m" * 500, image=b"i"))
    assert eventually(lambda: len(overlays.entries) == len(bare.entries) == 2)
    assert eventually(lambda: outbox.status()["sinks"]["overlays"]["waiting"] == 0)
    assert overlays.entries[0].pictures == {"overlay": b"o" * 1000}
    assert bare.entries[0].pictures == {}
    assert outbox.status()["picture_bytes"] == 3000
    outbox.close(0.1)

    both = Kept(["overlay", "map"])
    outbox = started(store, overlays=overlays, both=both, bare=bare)
    outbox.close(20)
    assert both.entries[1].pictures == {"overlay": b"o" * 1000, "map": b"m" * 500}
    assert rows(store, "SELECT count(*) FROM pictures") == [(0,)]


def test_a_delivery_of_what_waited_is_bounded_in_records_and_in_bytes(store):
    most: list[tuple[int, int]] = []

    def counts(entries):
        bytes_ = sum(len(x) for entry in entries for x in entry.pictures.values())
        most.append((len(entries), bytes_))

    few, large = Kept(problem=counts), Kept(["image"], problem=counts)
    outbox = Outbox(store, {"few": few})
    outbox.put(outgoing(records(350)))
    outbox.start()
    outbox.close(20)
    assert sum(count for count, _ in most) == 350
    assert max(count for count, _ in most) == 100

    most.clear()
    outbox = Outbox(store.with_name("other.sqlite"), {"large": large})
    outbox.put(outgoing(records(12), image=b"i" * 1_500_000))
    outbox.start()
    outbox.close(20)
    assert [count for count, _ in most] == [3, 3, 3, 3]
    assert max(size for _, size in most) == 4_500_000


def test_pictures_beyond_their_limit_are_left_out_and_the_record_says_so(store):
    sink = Kept(["overlay"], problem=away)
    outbox = Outbox(store, {"s": sink}, Limits(picture_bytes=2500))
    places = {"overlay": "x.png"}
    outbox.put(outgoing(records(4, pictures=places), overlay=b"o" * 1000))

    found = rows(store, "SELECT error FROM parts ORDER BY id")
    sentence = "its pictures were not kept: too many wait for their sink."
    assert found == [(None,), (None,), (sentence,), (sentence,)]
    assert outbox.status()["pictures_left_out"] == 2
    kept = rows(store, "SELECT json_extract(record, '$.overlay') FROM parts ORDER BY id")
    assert kept == [("x.png",), ("x.png",), (None,), (None,)]
    outbox.close()


def test_pictures_leave_the_reserve_of_the_disk_to_records(store):
    outbox = Outbox(store, {"s": Kept(["overlay"])}, Limits(reserve_bytes=1 << 60))
    outbox.put(outgoing([record(1, error="blurred.")], overlay=b"o"))

    assert rows(store, "SELECT error FROM parts") == [
        ("blurred. its pictures were not kept: the disk is nearly full.",)
    ]
    outbox.close()


def test_records_beyond_their_limit_hold_up_the_line(store):
    sink = Kept(problem=away)
    outbox = Outbox(store, {"s": sink}, Limits(records=10))
    outbox.put(outgoing(records(8)))
    with pytest.raises(OutboxFull, match=r"8 records wait in .*line.sqlite, and at most 10 may"):
        outbox.put(outgoing([record(number) for number in range(8, 12)]))

    assert outbox.status()["is_full"]
    assert rows(store, "SELECT count(*) FROM parts") == [(8,)]
    outbox.put(outgoing([record(8), record(9)]))
    assert not outbox.status()["is_full"]
    outbox.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB; where this user may mount none, the test is skipped."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_on_a_full_disk_pictures_stop_first_and_records_last(small_disk):
    store = small_disk / "line.sqlite"
    others = small_disk / "others"
    others.write_bytes(bytes(1_000_000))
    sink = Kept(["overlay"])
    outbox = Outbox(store, {"s": sink}, Limits(reserve_bytes=3_000_000))
    number = 0

    def fill():
        nonlocal number
        for number in range(100_000):
            outbox.put(outgoing([record(number)], overlay=os.urandom(20_000)))

    with pytest.raises(OutboxFull, match="has no room for a record"):
        fill()
    kept = rows(store, "SELECT error FROM parts ORDER BY id")
    assert len(kept) == number
    sentence = "its pictures were not kept: the disk is nearly full."
    bare = kept.index((sentence,))
    assert bare > 50
    assert number - bare > 200
    assert set(kept[:bare]) == {(None,)}

    others.unlink()
    outbox.put(outgoing([record(number)], overlay=b"small"))
    outbox.start()
    outbox.close(20)
    assert sink.identities == [f"{place:05}.png" for place in range(number + 1)]
    assert [bool(entry.pictures) for entry in sink.entries] == [
        place < bare for place in range(number + 1)
    ]


def test_old_parts_leave_the_history_and_stay_known(store):
    sink, gone = Kept(), Kept(stations=("lathe",), problem=away)
    outbox = started(store, Limits(history_days=1), s=sink, gone=gone)
    outbox.put(outgoing([record(1), record(2), record(3, station="lathe")]))
    assert eventually(lambda: outbox.status()["sinks"]["s"]["waiting"] == 0)
    outbox._next_pruning = monotonic()
    outbox.put(outgoing([record(4, time=None)]))

    # The third waits for a sink, the fourth is young.
    assert rows(store, "SELECT identity FROM parts ORDER BY id") == [("00003.png",), ("00004.png",)]
    asked = [f"{number:05}.png" for number in range(1, 1200)]
    assert outbox.known("press", asked) == {"00001.png", "00002.png", "00004.png"}
    outbox.put(outgoing([record(1)]))
    assert outbox.keep_only("press", ["00002.png"]) == 1
    assert outbox.known("press", asked) == {"00002.png", "00004.png"}
    outbox.close(0.1)
    assert sink.identities.count("00001.png") == 1


def test_a_history_that_has_no_room_to_shrink_holds_up_nobody(store, monkeypatch, caplog):
    def has_no_room(self, *args):
        raise sqlite3.OperationalError("database or disk is full")

    outbox = started(store, Limits(history_days=1), s=Kept())
    with monkeypatch.context() as patched:
        patched.setattr("pyramidflow.line.outbox.spool.Spool.prune", has_no_room)
        outbox.put(outgoing([record(1)]))
    assert "the history keeps its old records for now" in caplog.text
    assert eventually(lambda: outbox.status()["sinks"]["s"]["delivered"] == 1)
    outbox._next_pruning = monotonic()
    outbox.put(outgoing([record(2)]))
    assert rows(store, "SELECT identity FROM parts") == [("00002.png",)]
    outbox.close()


def test_the_history_shrinks_as_fast_as_it_grew(store, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.outbox.PRUNED_AT_ONCE", 10)
    monkeypatch.setattr("pyramidflow.line.outbox.spool.PRUNED_AT_ONCE", 10)
    now = monotonic()
    monkeypatch.setattr("pyramidflow.line.outbox.outbox.monotonic", lambda: now)
    outbox = Outbox(store, {}, Limits(history_days=1))
    outbox.put(outgoing(records(34)))
    left = []
    for number in range(5):
        now += 1
        outbox.put(outgoing([record(100 + number, time=None)]))
        [[count]] = rows(store, "SELECT count(*) FROM parts WHERE identity < '00100.png'")
        left.append(count)
    assert left == [14, 4, 0, 0, 0]
    outbox.close()


def test_identities_that_cannot_come_again_are_not_remembered(store):
    def can_come_again(station, identity):
        return station == "lathe"

    outbox = Outbox(store, {}, Limits(history_days=1), can_come_again)
    outbox.put(outgoing([record(1), record(2, station="lathe")]))
    assert rows(store, "SELECT count(*) FROM parts") == [(0,)]
    assert rows(store, "SELECT station, identity FROM remembered") == [("lathe", "00002.png")]
    outbox.close()


def test_a_record_without_identity_is_a_mistake_of_the_caller(store):
    outbox = Outbox(store, {"s": Kept()})
    with pytest.raises(ValueError, match="has no identity"):
        outbox.put(outgoing([record(1), record(2, identity="")]))
    assert rows(store, "SELECT count(*) FROM parts") == [(0,)]
    outbox.close()


def test_metadata_that_are_no_json_are_left_out(store):
    sink = Kept()
    outbox = started(store, s=sink)
    outbox.put(outgoing([record(1, metadata={"exposure": float("nan")}), record(2)]))
    outbox.close(20)
    assert sink.entries[0].record["metadata"] == {}
    assert sink.entries[0].record["error"] == "its metadata are no JSON and were left out."
    assert len(sink.entries) == 2


def test_a_file_that_is_no_store_is_refused(store):
    store.write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match=r"line.sqlite cannot be opened .*not a database"):
        Outbox(store, {})


def test_a_store_of_a_newer_version_is_refused(store):
    Outbox(store, {}).close()
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(InputError, match="an outbox of version 7 where this program knows 2"):
        Outbox(store, {})


def test_what_waits_for_a_sink_that_is_gone_from_the_configuration_is_said(store):
    outbox = Outbox(store, {"old": Kept()})
    outbox.put(outgoing(records(3)))
    outbox.close()
    outbox = Outbox(store, {"new": Kept()})
    assert outbox.status()["waiting_for_sinks_that_are_not_configured"] == {"old": 3}
    outbox.close()


def test_a_sink_is_ticked_while_nothing_waits(store):
    sink = Kept()
    outbox = started(store, s=sink)
    assert eventually(lambda: sink.ticks >= 2, 5)
    outbox.close()


def test_an_error_that_a_sink_does_not_know_is_tried_again(store, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.deliverer.FIRST_DELAY", 0.01)

    def breaks(entries):
        raise ZeroDivisionError("a mistake")

    sink = Kept(problem=breaks)
    outbox = started(store, s=sink)
    outbox.put(outgoing(records(2)))
    assert eventually(lambda: outbox.status()["sinks"]["s"]["failures_in_a_row"] > 1)
    assert outbox.status()["sinks"]["s"]["last_error"] == "ZeroDivisionError: a mistake"
    sink.problem = takes
    assert eventually(lambda: len(sink.entries) == 2)
    outbox.close()


def test_the_delay_doubles_up_to_the_sinks_longest_with_jitter():
    random.seed(0)
    for failures, longest in [(1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (10_000, 60.0)]:
        delays = [back_off(failures, 60.0) for _ in range(200)]
        assert longest / 2 <= min(delays) < 0.6 * longest
        assert 0.9 * longest < max(delays) <= longest
    assert max(back_off(failures, 2.0) for failures in range(1, 50)) <= 2.0


def test_closing_does_not_wait_for_a_sink_that_hangs(store, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.outbox._LAST_WORDS", 0.2)
    sink = Kept()
    hangs = Event()
    sink.problem = lambda entries: hangs.wait(30) and None
    outbox = started(store, s=sink)
    outbox.put(outgoing(records(2)))
    start = monotonic()
    outbox.close(0.1)
    assert monotonic() - start < 5
    hangs.set()

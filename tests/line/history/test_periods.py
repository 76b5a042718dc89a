"""Hours, days and shifts, also where the clock is put forward or back."""

from datetime import datetime, time, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from pyramidflow.errors import InputError
from pyramidflow.line.history.periods import Periods, parsed_shifts, zone_of
from pyramidflow.line.history.search import counts_between
from pyramidflow.line.history.store import Store, sqlite_url
from tests.line.records import START, record

BERLIN = ZoneInfo("Europe/Berlin")
SHIFTS = parsed_shifts("06:00,14:00,22:00")


def span(moment, by, zone=BERLIN, shifts=SHIFTS):
    found = Periods(by, zone, shifts).of(datetime.fromisoformat(moment))
    return found.start.isoformat(timespec="minutes"), found.end.isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("moment", "by", "expected"),
    [
        ("2026-03-01T13:59:59+01:00", "hour", ("2026-03-01T13:00+01:00", "2026-03-01T14:00+01:00")),
        ("2026-03-01T13:59:59+01:00", "day", ("2026-03-01T00:00+01:00", "2026-03-02T00:00+01:00")),
        (
            "2026-03-01T13:59:59+01:00",
            "shift",
            ("2026-03-01T06:00+01:00", "2026-03-01T14:00+01:00"),
        ),
        (
            "2026-03-01T14:00:00+01:00",
            "shift",
            ("2026-03-01T14:00+01:00", "2026-03-01T22:00+01:00"),
        ),
        (
            "2026-03-01T05:00:00+01:00",
            "shift",
            ("2026-02-28T22:00+01:00", "2026-03-01T06:00+01:00"),
        ),
    ],
)
def test_periods_start_by_the_clock(moment, by, expected):
    assert span(moment, by) == expected


@pytest.mark.parametrize(
    ("moment", "by", "expected", "hours"),
    [
        # Put forward on 2026-03-29 at 02:00, back on 2026-10-25 at 03:00.
        ("2026-03-29T00:30:00Z", "shift", ("2026-03-28T22:00+01:00", "2026-03-29T06:00+02:00"), 7),
        ("2026-03-29T03:59:00Z", "shift", ("2026-03-28T22:00+01:00", "2026-03-29T06:00+02:00"), 7),
        ("2026-03-29T04:00:00Z", "shift", ("2026-03-29T06:00+02:00", "2026-03-29T14:00+02:00"), 8),
        ("2026-10-25T00:30:00Z", "shift", ("2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00"), 9),
        ("2026-10-25T04:59:00Z", "shift", ("2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00"), 9),
        ("2026-03-29T12:00:00Z", "day", ("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"), 23),
        ("2026-10-25T12:00:00Z", "day", ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"), 25),
        ("2026-10-25T00:30:00Z", "hour", ("2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"), 1),
        ("2026-10-25T01:30:00Z", "hour", ("2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"), 1),
    ],
)
def test_the_clock_is_put_forward_and_back(moment, by, expected, hours):
    assert span(moment.replace("Z", "+00:00"), by) == expected
    start, end = (datetime.fromisoformat(text) for text in expected)
    assert end - start == timedelta(hours=hours)


def test_an_hour_that_comes_twice_is_two():
    periods = Periods("hour", BERLIN)
    moments = [datetime(2026, 10, 25, hour, 30, tzinfo=timezone.utc) for hour in (0, 1)]
    starts = {periods.of(moment).start for moment in moments}
    assert len(starts) == 2


def test_a_shift_that_begins_in_the_hour_that_is_left_out_begins_later():
    shifts = [time(2, 30), time(14)]
    found = span("2026-03-29T02:00:00+00:00", "shift", shifts=shifts)
    assert found == ("2026-03-29T03:30+02:00", "2026-03-29T14:00+02:00")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("by", ["hour", "day", "shift"])
def test_periods_leave_nothing_out_and_count_nothing_twice(zone, by):
    shifts = [time(0, 15), time(5, 45), time(18)]
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    periods = Periods(by, ZoneInfo(zone), shifts)
    last = None
    for number in range(0, 366 * 24 * 4, 3):
        moment = start + timedelta(minutes=15 * number)
        found = Periods(by, ZoneInfo(zone), shifts).of(moment)
        assert found == periods.of(moment)
        assert found.start <= moment < found.end
        assert last is None or found == last or found.start == last.end
        last = found


def test_this_machine_s_clock_knows_when_it_is_put_back(monkeypatch):
    import os
    import time as clock

    if not hasattr(clock, "tzset"):
        pytest.skip("this system's clock cannot be changed for a process")
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    clock.tzset()
    try:
        for moment in ("2026-03-29T12:00:00+00:00", "2026-10-25T00:30:00+00:00"):
            for by in ("hour", "day", "shift"):
                assert span(moment, by, zone=None) == span(moment, by)
    finally:
        monkeypatch.undo()
        assert os.environ.get("TZ") == before
        clock.tzset()


def test_the_last_periods_come_the_newest_first():
    moment = datetime(2026, 10, 25, 12, tzinfo=timezone.utc)
    found = list(islice(Periods("shift", BERLIN, SHIFTS).until(moment), 4))
    assert [f"{each.start:%d %H}" for each in found] == ["25 06", "24 22", "24 14", "24 06"]
    assert all(later.start == earlier.end for later, earlier in pairwise(found))


@pytest.mark.parametrize("text", ["", "6", "25:00", "14:00,06:00", "06:00,06:00"])
def test_shifts_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="the shifts are"):
        parsed_shifts(text)


@pytest.mark.parametrize("name", ["Europe/Nowhere", "../../etc/passwd", "", "a\0"])
def test_a_zone_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="the time zone is"):
        zone_of(name)


def test_the_database_counts_what_lies_between_two_moments(tmp_path):
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"), create=True)
    verdicts = ["ok", "ok", "review", "ng", "ng", "ng"]
    some = [
        record(number, findings={"verdict": verdict, "score": 1.0, "threshold": 2.0})
        for number, verdict in enumerate(verdicts)
    ]
    some += [record(6, findings={}), record(7, findings={}, dropped=True), record(8, late=True)]
    some += [record(9, station="lathe"), record(10), record(-1)]
    store.add([each.as_dict() for each in some])
    found = counts_between(store, "press", START, START + timedelta(seconds=10))
    assert (found.ok, found.review, found.ng) == (3, 1, 3)
    assert (found.errors, found.dropped, found.late) == (1, 1, 1)
    nothing = counts_between(store, "press' OR 1=1 --", START, START + timedelta(days=1))
    assert nothing.inspected == 0
    store.close()


def test_counting_reads_only_the_parts_of_the_time(tmp_path):
    import sqlite3

    Store.open(sqlite_url(tmp_path / "line.sqlite"), create=True).close()
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"))
    said = []
    from sqlalchemy import event

    event.listen(
        store.engine, "before_cursor_execute", lambda *given: said.append((given[2], given[3]))
    )
    counts_between(store, "press", START, START + timedelta(hours=8))
    store.close()
    [(statement, values)] = [each for each in said if "count(" in each[0]]
    connection = sqlite3.connect(tmp_path / "line.sqlite")
    [plan] = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()[:1]
    connection.close()
    assert "parts_by_time" in plan[3]

import csv
import json
import os
from datetime import datetime, time, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pytest

from pyramidflow.cli import main
from pyramidflow.errors import InputError
from pyramidflow.line.history.marked import marked_pictures
from pyramidflow.line.history.store import Chosen, Store, sqlite_url
from pyramidflow.line.history.summary import moment_of, summarized
from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from pyramidflow.line.sources.file_identity import content_identity, file_identity
from tests.line.kept import Kept, refuses, started, takes
from tests.line.records import START, eventually, record
from tests.line.services import postgres_url

UTC = timezone.utc


@pytest.fixture
def run(capsys):
    """Runs a command; says its exit code, output and errors."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code, stdout=said.out, stderr=said.err)

    return call


def judged(number, verdict, score=1.0, **parts):
    return record(number, findings={"verdict": verdict, "score": score, "threshold": 2}, **parts)


PARTS = [
    judged(0, "ok"),
    judged(1, "ok", late=True),
    judged(2, "ng", 3.0),
    judged(3, "review", 1.9),
    record(4, findings={}, error="broken"),
    record(5, findings={}, error="let go", dropped=True),
    judged(6, "ok", time=START + timedelta(hours=20)),
    judged(7, "ng", 4.0, time=START + timedelta(hours=20)),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "line.sqlite")
        return
    with postgres_url() as found:
        yield found


@pytest.fixture
def store(url):
    made = Store.open(url, create=True)
    made.add([item.as_dict() for item in PARTS])
    yield made
    made.close()


def counts(found):
    return [found.ok, found.review, found.ng, found.errors, found.dropped, found.late]


def test_parts_are_counted_by_period(store):
    found = summarized(store.judged(), "shift", UTC, [time(6), time(14), time(22)])
    assert counts(found.total) == [3, 1, 2, 1, 1, 1]
    assert {start.isoformat(): counts(each) for start, each in found.periods.items()} == {
        "2026-03-01T06:00:00+00:00": [2, 1, 1, 1, 1, 1],
        "2026-03-01T22:00:00+00:00": [1, 0, 1, 0, 0, 0],
    }


def test_only_the_chosen_parts_count(store):
    later = Chosen(since=START + timedelta(seconds=2), until=START + timedelta(hours=1))
    assert counts(summarized(store.judged(later), "day", UTC, []).total) == [0, 1, 1, 1, 1, 0]
    elsewhere = Chosen(station="lathe")
    assert counts(summarized(store.judged(elsewhere), "day", UTC, []).total) == [0] * 6


def test_the_last_word_of_a_person_counts_and_every_word_is_kept(store):
    assert store.mark(None, "00002.png", False, "Ada", "a scratch") == "press"
    store.mark("press", "00002.png", True, "Bo")
    store.mark(None, "00006.png", False, "Ada")
    store.mark(None, "00004.png", True, "Ada")
    total = summarized(store.judged(), "day", UTC, []).total
    assert (total.good_rejected, total.good_reviews, total.marked_good) == (1, 0, 1)
    store.mark(None, "00003.png", True, "Ada")
    total = summarized(store.judged(), "day", UTC, []).total
    assert (total.good_rejected, total.good_reviews, total.marked_good) == (1, 1, 2)
    assert (total.bad_passed, total.marked_bad) == (1, 1)
    marked = {part.record["identity"]: part.good for part in store.parts(marked=True)}
    goods = dict.fromkeys(("00002.png", "00003.png", "00004.png"), True)
    assert marked == {**goods, "00006.png": False}


def test_a_word_about_no_part_or_by_nobody_is_refused(store):
    with pytest.raises(InputError, match=r"part none of station press is not in .*: see"):
        store.mark("press", "none", True, "Ada")
    with pytest.raises(InputError, match="who says so is empty"):
        store.mark(None, "00001.png", True, " ")
    store.add([record(1, station="lathe").as_dict()])
    with pytest.raises(InputError, match="in several stations, lathe, press: name one"):
        store.mark(None, "00001.png", True, "Ada")


def test_scores_start_anew_with_another_detector_and_leave_out_what_is_not_good(store):
    store.mark(None, "00000.png", False, "Ada")
    store.mark(None, "00002.png", True, "Ada")
    found = summarized(store.judged(), "day", UTC, []).drifting["press"]
    assert found.scores == [1.0, 3.0, 1.0]
    store.add([judged(8, "ok", 7.0, detector="cd" * 32).as_dict()])
    found = summarized(store.judged(), "day", UTC, []).drifting["press"]
    assert (found.detector, found.scores) == ("cd" * 32, [7.0])


def test_pages_hide_no_part(store):
    store.add([record(number).as_dict() for number in range(100, 2600)])
    assert len({part.number for part in store.parts()}) == 2508


def test_a_store_is_read_while_a_line_writes_to_it(tmp_path):
    outbox = Outbox(tmp_path / "line.sqlite", {})
    outbox.put([Outgoing(PARTS[0])])
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"))
    pages = store.parts()
    next(pages)
    outbox.put([Outgoing(PARTS[1])])
    store.mark(None, "00001.png", False, "Ada")
    outbox.put([Outgoing(PARTS[2])])
    assert [part.good for part in store.parts()] == [None, False, None]
    outbox.close()
    store.close()


def test_moments_are_dates_or_durations():
    assert moment_of("2026-03-01", UTC, START) == datetime(2026, 3, 1, tzinfo=UTC)
    assert moment_of("2026-03-01T06:00+01:00", UTC, START) == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert moment_of("7d", UTC, START) == START - timedelta(days=7)
    with pytest.raises(InputError, match="the time is 'yesterday'"):
        moment_of("yesterday", UTC, START)


def test_pictures_of_marked_parts_are_found_where_they_lie(store, tmp_path):
    kept = tmp_path / "kept"
    (kept / "day").mkdir(parents=True)
    (kept / "day" / "x.png").write_bytes(b"")
    read = tmp_path / "read.png"
    read.write_bytes(b"")
    os.utime(read, (0, 0))
    store.add(
        [
            judged(20, "ng", pictures={"image": "day/x.png"}).as_dict(),
            judged(21, "ok", path=str(read)).as_dict(),
            judged(22, "ok", pictures={"image": "day/gone.png"}).as_dict(),
            judged(23, "ok", path=str(read)).as_dict(),
        ]
    )
    for identity, good in [("00020.png", True), ("00021.png", False), ("00022.png", True)]:
        store.mark(None, identity, good, "Ada")
    found = marked_pictures(store.parts(marked=True), [tmp_path, kept])
    assert (found.good, found.bad, found.missing) == ([kept / "day" / "x.png"], [read], 1)
    assert found.changed == []


IDENTITIES = {
    "by name, time and size": lambda path: file_identity(
        "capture.png", path.stat().st_mtime_ns, path.stat().st_size
    ),
    "by content": content_identity,
    "by a code": lambda path: "00020",
}


@pytest.mark.parametrize("way", IDENTITIES)
def test_a_file_that_was_written_anew_is_not_the_marked_picture(store, tmp_path, way):
    path = tmp_path / "capture.png"
    path.write_bytes(b"a good part")
    os.utime(path, (START.timestamp(), START.timestamp()))
    identity = IDENTITIES[way](path)
    store.add([judged(20, "ok", path=str(path), identity=identity).as_dict()])
    store.mark(None, identity, True, "Ada")
    found = marked_pictures(store.parts(marked=True), [])
    assert (found.good, found.changed) == ([path], [])

    path.write_bytes(b"a bad part.")
    found = marked_pictures(store.parts(marked=True), [])
    assert (found.good, found.changed, found.missing) == ([], [path], 0)


def test_a_file_is_the_marked_picture_by_what_its_record_says_of_it(store, tmp_path):
    path = tmp_path / "capture.png"
    path.write_bytes(b"a good part")
    changed = datetime.fromtimestamp(path.stat().st_mtime_ns / 1e9, UTC)
    metadata = {"modified": changed.isoformat(), "bytes": 11}
    store.add([judged(20, "ok", path=str(path), metadata=metadata).as_dict()])
    store.mark(None, "00020.png", True, "Ada")
    assert marked_pictures(store.parts(marked=True), []).good == [path]
    path.write_bytes(b"a bad part, larger")
    os.utime(path, ns=(0, round(changed.timestamp() * 1e9)))
    assert marked_pictures(store.parts(marked=True), []).changed == [path]


@pytest.fixture
def line(tmp_path):
    """The configuration of a line whose store has the parts."""
    Outbox(tmp_path / "line.sqlite", {}).close()
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"))
    store.add([item.as_dict() for item in PARTS])
    store.close()
    path = tmp_path / "line.toml"
    path.write_text(
        '[[stations]]\nname = "press"\ndetector = "d.safetensors"\n'
        'source = {kind = "files", paths = ["in"]}\n'
    )
    return path


def test_the_command_shows_counts_and_rates(line, run):
    found = run("history", str(line), "--timezone", "UTC", "--by", "hour")
    assert found.returncode == 0, found.stderr
    rows = found.stdout.splitlines()
    assert rows[2].split()[:9] == [*["2026-03-01", "06:00"], "2", "1", "1", "1", "1", "1", "1"]
    assert rows[-2].split()[:7] == ["all", "3", "1", "2", "1", "1", "1"]
    assert "2 of 6, 33.3%" in rows[-2]
    assert rows[-1] == "press: 3 good parts are too few to tell a drift"

    as_json = json.loads(run("history", "show", str(line), "--json").stdout)
    assert as_json["total"]["ng"] == 2


def test_the_command_keeps_a_word_and_exports_it(line, tmp_path, run):
    found = run("history", "mark", "00002.png", "--good", "--who", "Ada", "--history", str(line))
    assert found.stdout == "00002.png of press was good, says Ada\n"
    for name in ("out.csv", "out.jsonl"):
        assert run("history", "export", str(tmp_path / name), str(line)).returncode == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["marked_good"] for row in rows] == ["", "", "1", "", "", "", "", ""]
    assert [row["regions"] for row in rows] == ["0"] * 8
    assert rows[2]["milliseconds"] == str(PARTS[2].times["total"])
    assert [row["verdict"] for row in rows][:5] == ["ok", "ok", "ng", "review", ""]
    lines = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[2] == {**PARTS[2].as_dict(), "marked_good": True}


def test_drift_has_an_exit_code(line, run):
    rng = np.random.default_rng(0)
    scores = [*rng.lognormal(size=300), *(3 * rng.lognormal(size=300))]
    store = Store.open(sqlite_url(line.with_name("line.sqlite")))
    store.add([judged(100 + n, "ok", score).as_dict() for n, score in enumerate(scores)])
    store.close()
    found = run("history", str(line), "--fail-on-drift", "--timezone", "UTC")
    assert found.returncode == 1
    assert "press: DRIFT: good parts' scores go up since 2026-03-01T06:0" in found.stdout
    assert run("history", str(line)).returncode == 0


def test_a_history_that_is_not_there_is_a_sentence(tmp_path, run):
    found = run("history", str(tmp_path / "none.sqlite"))
    assert found.returncode == 2
    assert "there is no history" in found.stderr
    (tmp_path / "other.sqlite").write_bytes(b"")
    found = run("history", str(tmp_path / "other.sqlite"))
    assert "holds no history of this version" in found.stderr


def test_what_a_sink_refused_is_shown_and_sent_again(tmp_path, run):
    store = tmp_path / "line.sqlite"
    sink = Kept(problem=refuses)
    outbox = started(store, webhook=sink)
    outbox.put([Outgoing(item) for item in PARTS[:2]])
    assert eventually(lambda: outbox.status()["sinks"]["webhook"]["refused"] == 2)
    shown = run("history", "refused", store).stdout.splitlines()
    assert shown[0].split()[:3] == ["webhook", "press", "00000.png"]
    assert shown[0].endswith("answer 422")
    assert shown[2] == "2 refused"

    sink.problem = takes
    assert run("history", "refused", store, "--again").stdout == "2 wait again\n"
    assert eventually(lambda: sink.identities == ["00000.png", "00001.png"])
    assert eventually(lambda: outbox.status()["sinks"]["webhook"]["waiting"] == 0)
    assert run("history", "refused", store).stdout == "0 refused\n"
    outbox.close()


def test_a_file_without_refusals_is_a_sentence(tmp_path, run):
    found = run("history", "refused", tmp_path / "none.sqlite")
    assert found.returncode == 2
    assert "is no store of a line (no such file)" in found.stderr

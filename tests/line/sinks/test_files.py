import csv
import errno
import json
from datetime import datetime, timezone

import pytest
from pydantic import ValidationError

from pyramidflow.line.sinks.csv import CsvSink
from pyramidflow.line.sinks.jsonl import JsonlSink
from pyramidflow.line.sinks.rotated import RotatedFile
from pyramidflow.line.sinks.sink import Entry, SinkAway
from tests.line.records import entries, record


def jsonl(folder, **settings):
    return JsonlSink(JsonlSink.Settings(folder=folder, **settings))


def files(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def lines(folder):
    return [json.loads(line) for path in files(folder) for line in path.read_text().splitlines()]


def today():
    return f"{datetime.now(timezone.utc):%Y-%m-%d}"


def test_a_line_of_json_is_the_record(tmp_path):
    sink = jsonl(tmp_path)
    given = entries(3)
    sink.deliver(given)

    assert lines(tmp_path) == [entry.record for entry in given]
    assert [path.name for path in files(tmp_path)] == [f"records-{today()}-0001.jsonl"]
    sink.close()


def test_what_comes_again_after_a_crash_is_not_written_again(tmp_path):
    sink = jsonl(tmp_path)
    sink.deliver(entries(5))
    sink.close()

    sink = jsonl(tmp_path)
    sink.deliver(entries(8))
    sink.deliver(entries(2, station="lathe"))
    sink.close()
    numbers = [item["identity"] for item in lines(tmp_path)]
    assert numbers == [f"{place:05}.png" for place in [*range(8), 0, 1]]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_half_a_line_is_cut_off_and_written_whole(tmp_path, cut):
    sink = jsonl(tmp_path)
    sink.deliver(entries(3))
    sink.close()
    [path] = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])

    sink = jsonl(tmp_path)
    sink.deliver(entries(3))
    sink.close()
    assert path.read_bytes() == whole


def test_a_file_that_would_be_too_large_starts_anew(tmp_path):
    sink = jsonl(tmp_path, largest_bytes=2000, daily=False, start="press")
    sink.deliver(entries(20))
    sink.close()
    sink = jsonl(tmp_path, largest_bytes=2000, daily=False, start="press")
    sink.deliver(entries(30))
    sink.close()

    found = files(tmp_path)
    assert found[0].name == "press-0001.jsonl"
    assert found[-1].name == f"press-{len(found):04}.jsonl"
    assert all(1000 < path.stat().st_size <= 2000 for path in found[:-1])
    assert [item["identity"] for item in lines(tmp_path)] == [f"{n:05}.png" for n in range(30)]


def test_each_day_has_its_own_file(tmp_path, monkeypatch):
    sink = jsonl(tmp_path)
    for day in ("2026-03-01", "2026-03-02"):
        monkeypatch.setattr(RotatedFile, "_day_start", lambda self, day=day: f"records-{day}-")
        sink.deliver(entries(1, station=day))
    sink.close()

    assert [path.name for path in files(tmp_path)] == [
        "records-2026-03-01-0001.jsonl",
        "records-2026-03-02-0001.jsonl",
    ]


def test_other_files_of_the_folder_stay(tmp_path):
    other = tmp_path / "records-of-last-year.jsonl"
    other.write_text("no record, no end")
    sink = jsonl(tmp_path)
    sink.deliver(entries(1))
    sink.close()
    assert other.read_text() == "no record, no end"


def test_two_lines_do_not_write_the_same_files(tmp_path):
    first, second = jsonl(tmp_path), jsonl(tmp_path)
    first.deliver(entries(1))
    with pytest.raises(SinkAway, match="another process is writing to"):
        second.deliver(entries(1))
    first.close()
    second.deliver(entries(2))
    second.close()
    assert len(lines(tmp_path)) == 2


def test_a_folder_that_cannot_be_made_is_away(tmp_path):
    (tmp_path / "taken").write_text("a file")
    sink = jsonl(tmp_path / "taken" / "out")
    with pytest.raises(SinkAway, match=r"out could not be written \(Not a directory\)"):
        sink.deliver(entries(1))


class FullDisk:
    """A file on a disk that takes twenty bytes more."""

    def __init__(self, file):
        self._file = file
        self.truncate, self.close, self.fileno = file.truncate, file.close, file.fileno
        self._is_full = False

    def write(self, data):
        if self._is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._is_full = True
        return self._file.write(data[:20])


def test_a_full_disk_leaves_no_half_line(tmp_path):
    sink = jsonl(tmp_path)
    sink.deliver(entries(1))
    [path] = files(tmp_path)
    before = path.read_bytes()
    sink._file._file = FullDisk(sink._file._file)
    with pytest.raises(SinkAway, match="the disk is full"):
        sink.deliver(entries(2))
    assert path.read_bytes() == before
    sink.deliver(entries(2))
    sink.close()
    assert len(lines(tmp_path)) == 2


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="cannot start a file's name"):
        jsonl(tmp_path, start="../records")


def test_a_row_of_csv_holds_what_a_spreadsheet_needs(tmp_path):
    sink = CsvSink(CsvSink.Settings(folder=tmp_path))
    odd = record(7, identity='a "part",\nwith ; all', error="blurred", findings={}, dropped=True)
    sink.deliver([*entries(1, pictures={"overlay": "day/x.png"}), Entry(odd.as_dict())])
    sink.close()
    sink = CsvSink(CsvSink.Settings(folder=tmp_path))
    sink.deliver([Entry(odd.as_dict()), *entries(2)[1:]])
    sink.close()

    [path] = files(tmp_path)
    with path.open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert first == {
        "station": "press",
        "identity": "00000.png",
        "time": "2026-03-01T06:00:00.250000+00:00",
        "verdict": "ok",
        "score": "1.5",
        "threshold": "2.0",
        "review_threshold": "",
        "regions": "0",
        "milliseconds": "12.125",
        "late": "0",
        "dropped": "0",
        "error": "",
        "path": "in/00000.png",
        "image": "",
        "overlay": "day/x.png",
        "map": "",
        "detector": "ab" * 32,
    }
    assert second["identity"] == 'a "part",\\nwith ; all'
    assert (second["verdict"], second["error"], second["dropped"]) == ("", "blurred", "1")
    assert third["identity"] == "00001.png"


def test_a_file_with_other_columns_is_left_as_it_is(tmp_path):
    """As a version of the program wrote it that knew fewer."""
    older = tmp_path / f"records-{today()}-0001.csv"
    older.write_text("station,identity,score\npress,00000.png,1.5\n")
    sink = CsvSink(CsvSink.Settings(folder=tmp_path))
    sink.deliver(entries(2))
    sink.close()
    sink = CsvSink(CsvSink.Settings(folder=tmp_path))
    sink.deliver(entries(3))
    sink.close()
    assert older.read_text() == "station,identity,score\npress,00000.png,1.5\n"
    _, newer = files(tmp_path)
    with newer.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["identity"] for row in rows] == ["00001.png", "00002.png"]
    assert {row["verdict"] for row in rows} == {"ok"}

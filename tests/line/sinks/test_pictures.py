import os
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from pyramidflow.line.sinks.pictures import PicturesSink
from pyramidflow.line.sinks.sink import Entry, SinkAway
from tests.line.records import record, records

OK = {"verdict": "ok", "score": 1.0}
NG = {"verdict": "ng", "score": 9.0}


def sink(folder, **settings):
    return PicturesSink(PicturesSink.Settings(folder=folder, **settings))


def entry_of(sink, item, data=b"picture"):
    places = sink.pictures(item)
    changed = item.changed(pictures=places)
    return Entry(changed.as_dict(), dict.fromkeys(places, data))


def test_pictures_lie_by_day_and_station(tmp_path):
    kept = sink(tmp_path, kinds=("image", "overlay", "map"))
    item = record(3, findings=NG, station="press 1", path="in/00003.JPG")
    places = kept.pictures(item)
    assert {kind: place.rpartition(".")[2] for kind, place in places.items()} == {
        "image": "jpg",
        "overlay": "png",
        "map": "tiff",
    }
    assert places["overlay"].startswith("2026-03-01/press 1/00003-")

    kept.deliver([entry_of(kept, item)])
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert found == sorted(places.values())
    assert (tmp_path / places["map"]).read_bytes() == b"picture"


def test_two_parts_never_share_a_name(tmp_path):
    kept = sink(tmp_path)
    items = [
        record(1, findings=NG, identity=name)
        for name in ("a.png", "a.jpg", "b/a.png", "c/../a.png")
    ]
    places = [place for item in items for place in kept.pictures(item).values()]
    assert len(set(places)) == 2 * len(items)
    assert not any(".." in place.split("/") for place in places)


def test_a_part_that_was_not_inspected_is_not_ok(tmp_path):
    assert set(sink(tmp_path).pictures(record(1, findings={}, error="broken"))) == {
        "image",
        "overlay",
    }


def test_of_good_parts_a_share_is_kept_the_same_one_each_time(tmp_path):
    good = records(4000, findings=OK)
    assert not any(sink(tmp_path).pictures(item) for item in good)
    assert all(sink(tmp_path, keep="all").pictures(item) for item in good)
    sampled = [bool(sink(tmp_path, share_of_ok=0.1).pictures(item)) for item in good]
    assert sampled == [bool(sink(tmp_path, share_of_ok=0.1).pictures(item)) for item in good]
    # Five standard deviations of the binomial distribution.
    assert abs(sum(sampled) - 400) < 5 * (4000 * 0.1 * 0.9) ** 0.5


def test_old_pictures_are_removed_and_other_files_stay(tmp_path):
    kept = sink(tmp_path, keep_days=10)
    items = records(3, findings=NG)
    kept.deliver([entry_of(kept, item) for item in items])
    other = tmp_path / "2026-03-01" / "press" / "notes.txt"
    other.write_text("mine")
    for item in items[:2]:
        for place in kept.pictures(item).values():
            os.utime(tmp_path / place, (0, 0))
    os.utime(other, (0, 0))

    kept._next_tidying = 0
    kept.tick()
    left = sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file())
    expected = [place.rpartition("/")[2] for place in kept.pictures(items[2]).values()]
    assert left == sorted([*expected, "notes.txt"])
    assert kept.status() == {"pictures_removed": 4}


def test_beyond_the_size_the_oldest_are_removed(tmp_path):
    kept = sink(tmp_path, most_bytes=250, kinds=("overlay",))
    items = [record(number, findings=NG, station=f"s{number}") for number in range(5)]
    for age, item in enumerate(reversed(items)):
        kept.deliver([entry_of(kept, item, bytes(100))])
        [place] = kept.pictures(item).values()
        os.utime(tmp_path / place, (1e9 - age, 1e9 - age))
    kept._next_tidying = 0
    kept.tick()
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == sorted(
        place.rpartition("/")[2] for item in items[3:] for place in kept.pictures(item).values()
    )
    assert not (tmp_path / "2026-03-01" / "s0").exists()


def many(folder, count, size=1):
    """Empty pictures as a sink names them, the first ones the oldest; their total size."""
    place = folder / "2026-03-01" / "press"
    place.mkdir(parents=True)
    for number in range(count):
        path = place / f"{number:05}-{number:08x}.overlay.png"
        path.write_bytes(bytes(size))
        os.utime(path, (1e9 + number, 1e9 + number))
    return place


def test_any_number_is_removed_and_what_cannot_be_removed_is_left(tmp_path, monkeypatch):
    place = many(tmp_path, 1200)
    kept = sink(tmp_path, most_bytes=150)
    stuck = place / "00003-00000003.overlay.png"
    unlink = Path.unlink

    def fails(path):
        if path == stuck:
            raise PermissionError(13, "no", str(path))
        unlink(path)

    monkeypatch.setattr(Path, "unlink", fails)
    kept.tick()
    left = sorted(path.name for path in place.iterdir())
    assert left == [stuck.name, *(f"{n:05}-{n:08x}.overlay.png" for n in range(1051, 1200))]
    assert kept.status() == {"pictures_removed": 1050}


def test_the_memory_for_tidying_does_not_grow_with_what_is_kept(tmp_path):
    many(tmp_path, 6000)
    kept = sink(tmp_path, most_bytes=5000)
    tracemalloc.start()
    try:
        kept.tick()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.status() == {"pictures_removed": 1000}
    assert peak < 500_000


def test_a_folder_that_cannot_be_written_is_away(tmp_path):
    (tmp_path / "taken").write_text("a file")
    kept = sink(tmp_path / "taken")
    with pytest.raises(SinkAway, match="could not be written"):
        kept.deliver([entry_of(kept, record(1, findings=NG))])


def test_two_sinks_on_one_folder_keep_their_pictures_apart(tmp_path):
    kinds = ("overlay",)
    sinks = {name: sink(tmp_path, kinds=kinds) for name in ("left", "right")}
    items = {name: records(150, findings=NG, station=name) for name in sinks}
    content = {name: name.encode() * 20_000 for name in sinks}
    failures = []

    def deliver(name):
        try:
            for item in items[name]:
                sinks[name].deliver([entry_of(sinks[name], item, content[name])])
        except SinkAway as away:
            failures.append(away)

    threads = [threading.Thread(target=deliver, args=(name,)) for name in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for name in sinks:
        places = [sinks[name].pictures(item)["overlay"] for item in items[name]]
        assert all((tmp_path / place).read_bytes() == content[name] for place in places)
    assert [path.name for path in tmp_path.iterdir()] == ["2026-03-01"]


def test_what_a_killed_line_left_of_a_picture_is_removed_and_one_in_hand_stays(tmp_path):
    for name in (".picture.tmp", ".picture-00000000.tmp", ".picture-11111111.tmp"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / ".picture.tmp", (0, 0))
    os.utime(tmp_path / ".picture-00000000.tmp", (0, 0))
    in_hand = tmp_path / ".picture-11111111.tmp"
    os.utime(in_hand, (time.time() - 60, time.time() - 60))
    sink(tmp_path).tick()
    assert list(tmp_path.iterdir()) == [in_hand]


def test_a_picture_that_cannot_be_written_leaves_no_part_of_it(tmp_path, monkeypatch):
    def is_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", is_full)
    kept = sink(tmp_path)
    with pytest.raises(SinkAway, match="the disk is full"):
        kept.deliver([entry_of(kept, record(1, findings=NG))])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

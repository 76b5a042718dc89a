"""A watched folder: complete pictures, each once."""

import os
import threading
import time

import pytest
from PIL import Image

from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.record import Record
from pyramidflow.line.sources.folder import FolderSource
from tests.line.records import eventually
from tests.line.sources.watched import Recorded, encoded

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")

DONE = Record(path="", findings={"verdict": "ok"})


def test_pictures_are_found_that_lie_there_come_or_are_moved_in(tmp_path, watch):
    (tmp_path / "in" / "before.png").write_bytes(encoded())
    found = watch()
    assert found.wait_for(1) == ["before.png"]
    (tmp_path / "in" / "written.png").write_bytes(encoded())
    assert found.wait_for(2)[1:] == ["written.png"]
    (tmp_path / "in" / "part.tmp").write_bytes(encoded("JPEG"))
    os.rename(tmp_path / "in" / "part.tmp", tmp_path / "in" / "renamed.jpg")
    assert found.wait_for(3)[2:] == ["renamed.jpg"]
    (tmp_path / "moved.bmp").write_bytes(encoded("BMP"))
    (tmp_path / "in" / "below").mkdir()
    os.rename(tmp_path / "moved.bmp", tmp_path / "in" / "below" / "moved.bmp")
    assert found.wait_for(4)[3:] == ["moved.bmp"]
    frame = found.frames[3]
    assert (frame.name, frame.station) == ("below/moved", "press")
    assert frame.time.utcoffset().total_seconds() == 0
    assert len({each.identity for each in found.frames}) == 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_a_picture_that_is_written_in_pieces_comes_when_its_end_is_there(tmp_path, watch, kind):
    found = watch(patience_seconds=30)
    data = encoded(kind)
    with (tmp_path / "in" / f"slow.{kind.lower()}").open("wb") as file:
        for start in range(0, len(data), len(data) // 4 + 1):
            assert found.names() == []
            file.write(data[start : start + len(data) // 4 + 1])
            file.flush()
            time.sleep(0.1)
    assert len(found.wait_for(1)) == 1
    assert Image.open(found.frames[0].path).size == (40, 40)


def test_a_picture_without_an_end_mark_comes_when_it_has_not_changed_for_a_while(tmp_path, watch):
    found = watch(settle_seconds=0.6)
    data = encoded("TIFF")
    start = time.monotonic()
    with (tmp_path / "in" / "slow.tif").open("wb") as file:
        for third in range(3):
            file.write(data[third * len(data) // 3 : (third + 1) * len(data) // 3])
            file.flush()
            time.sleep(0.2)
        written = time.monotonic() - 0.2
    assert found.wait_for(1) == ["slow.tif"]
    assert found.frames[0].arrived - written >= 0.5
    assert written > start


def test_a_picture_that_stays_cut_off_comes_after_a_time_and_its_rest_comes_again(tmp_path, watch):
    found = watch(patience_seconds=0.3)
    data = encoded()
    path = tmp_path / "in" / "half.png"
    path.write_bytes(data[: len(data) // 2])
    assert found.wait_for(1) == ["half.png"]
    path.write_bytes(data)
    assert found.wait_for(2) == ["half.png"] * 2
    assert len({frame.identity for frame in found.frames}) == 2


def test_no_picture_comes_twice_also_after_a_restart(tmp_path, watch):
    for index in range(3):
        (tmp_path / "in" / f"{index}.png").write_bytes(encoded())
    first = watch(rescan_seconds=0.05)
    assert len(first.wait_for(3)) == 3
    time.sleep(0.5)
    assert len(first.frames) == 3
    first.close()
    (tmp_path / "in" / "3.png").write_bytes(encoded())
    second = watch(first.recorded, rescan_seconds=0.05)
    second.wait_for(1)
    time.sleep(0.3)
    assert (second.names(), second.passed_over) == (["3.png"], 3)


def test_a_copy_counts_once_where_the_content_is_the_identity(tmp_path, watch):
    (tmp_path / "in" / "a.png").write_bytes(encoded())
    found = watch(identity="content")
    found.wait_for(1)
    (tmp_path / "in" / "b.png").write_bytes(encoded())
    (tmp_path / "in" / "c.png").write_bytes(encoded(seed=1))
    found.wait_for(2)
    time.sleep(0.3)
    assert found.names() == ["a.png", "c.png"]


def test_a_name_tells_the_trigger_and_the_identity(tmp_path, watch):
    found = watch(pattern=r"(?P<identity>\d+)_(?P<shot>[ab])\.png")
    (tmp_path / "in" / "other.png").write_bytes(encoded())
    (tmp_path / "in" / "4711_b.png").write_bytes(encoded())
    assert found.wait_for(1) == ["4711_b.png"]
    assert found.frames[0].identity == "4711"
    assert found.frames[0].metadata["shot"] == "b"


def test_a_known_identity_of_another_picture_is_said(tmp_path, watch, caplog):
    pattern = r"(?P<identity>\d+)_\w+\.png"
    paths = [tmp_path / "in" / f"4711_{side}.png" for side in ("left", "right")]
    for path in paths:
        path.write_bytes(encoded())
    first = watch(pattern=pattern)
    assert len(first.wait_for(1)) == 1
    assert eventually(lambda: first.passed_over == 1)
    [said] = [record.message for record in caplog.records if "4711" in record.message]
    [taken] = first.names()
    other = "4711_right.png" if taken == "4711_left.png" else "4711_left.png"
    assert said == (
        f"press: {other} was not inspected: {taken} of another name, time or size has a record "
        "with its identity 4711: give each picture an identity of its own"
    )
    first.close()
    (tmp_path / "in" / other).unlink()
    caplog.clear()
    again = watch(first.recorded, pattern=pattern)
    assert eventually(lambda: again.passed_over == 1)
    again.close()
    assert not caplog.records
    (tmp_path / "in" / taken).write_bytes(encoded(seed=1) + b"more")
    changed = watch(first.recorded, pattern=pattern)
    assert eventually(lambda: changed.passed_over == 1)
    assert [taken in record.message for record in caplog.records] == [True]


def test_a_name_that_is_no_text_gives_an_identity_and_metadata_that_are(tmp_path, watch):
    path = os.fsencode(tmp_path / "in") + b"/Teil_T\xfcr_2.png"
    try:
        with open(path, "wb") as file:
            file.write(encoded())
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    found = watch(pattern=r"(?P<identity>.+)_(?P<shot>.+)\.png|(?P<all>.+)")
    assert len(found.wait_for(1)) == 1
    [frame] = found.frames
    assert (frame.identity, frame.metadata["shot"]) == (r"Teil_T\xfcr", "2")
    assert frame.path.is_file()


def test_pictures_are_moved_to_the_archive_by_day(tmp_path, watch):
    recorded = Recorded()
    for index in range(2):
        (tmp_path / "in" / f"{index}.png").write_bytes(encoded(seed=index))
    archive = tmp_path / "in" / "done"
    found = watch(recorded, after="archive", archive=archive)
    found.wait_for(2)
    (tmp_path / "in" / "0.png").write_bytes(encoded(seed=9))
    found.wait_for(3)
    time.sleep(0.2)
    names = sorted(path.relative_to(archive).name for path in archive.rglob("*.png"))
    assert names == ["0-2.png", "0.png", "1.png"]
    assert not list((tmp_path / "in").glob("*.png"))
    assert len(found.frames) == 3


def test_a_picture_whose_record_was_written_before_a_crash_is_moved_at_the_next_start(
    tmp_path, watch
):
    path = tmp_path / "in" / "0.png"
    path.write_bytes(encoded())
    first = watch()
    first.wait_for(1)
    first.close()
    second = watch(first.recorded, after="archive", archive=tmp_path / "done")
    assert eventually(lambda: not path.exists())
    assert [found.name for found in (tmp_path / "done").rglob("*.png")] == ["0.png"]
    assert second.frames == []


def test_only_an_inspected_picture_that_is_still_the_same_is_deleted(tmp_path):
    paths = [tmp_path / name for name in ("good.png", "broken.png", "changed.png")]
    for path in paths:
        path.write_bytes(encoded())
    settings = FolderSource.Settings(path=tmp_path, after="delete")
    source = FolderSource(settings, "press", Recorded())
    frames = source.frames(threading.Event())
    found = {frame.path.name: frame for frame in (next(frames) for _ in range(3))}
    paths[2].write_bytes(encoded(seed=1) + b"more")
    source.acknowledge(found["good.png"], DONE)
    source.acknowledge(found["broken.png"], Record(path="", error="no image"))
    source.acknowledge(found["changed.png"], DONE)
    assert [path.exists() for path in paths] == [False, True, True]
    assert isinstance(found["good.png"], Frame)


def test_two_lines_do_not_take_pictures_away_from_one_folder(tmp_path, watch):
    watch(after="delete")
    with pytest.raises(InputError, match="watching it already"):
        watch(after="delete")


def test_polling_finds_pictures_without_events(tmp_path, watch):
    found = watch(polling=True, rescan_seconds=0.1)
    (tmp_path / "in" / "0.png").write_bytes(encoded())
    assert found.wait_for(1) == ["0.png"]

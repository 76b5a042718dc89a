"""A watched folder of which something is away or may not be read."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from pyramidflow.line.sources.file_identity import changed_and_size
from pyramidflow.line.sources.put_away import PutAway
from tests.line.records import eventually
from tests.line.sources.watched import encoded

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")


def test_a_picture_that_may_not_be_read_comes_after_a_time(tmp_path, watch, monkeypatch):
    usual, locked = Path.open, {"secret.png", "held.png"}

    def refuses(path, *more, **named):
        if path.name in locked:
            raise PermissionError(13, "Permission denied")
        return usual(path, *more, **named)

    for name in sorted(locked):
        (tmp_path / "in" / name).write_bytes(encoded())
    monkeypatch.setattr(Path, "open", refuses)
    found = watch(patience_seconds=2.0, rescan_seconds=0.1)
    time.sleep(0.3)
    assert (found.names(), found.source.status()["incomplete"]) == ([], 2)
    locked.remove("held.png")
    assert found.wait_for(1, 1) == ["held.png"]
    assert found.wait_for(2) == ["held.png", "secret.png"]
    found.close()
    by_content = watch(identity="content", patience_seconds=0)
    assert "secret.png" in by_content.wait_for(2)


def test_a_folder_below_that_may_not_be_read_is_said_once_and_forgets_nothing(
    tmp_path, watch, monkeypatch, caplog
):
    (tmp_path / "in" / "below").mkdir()
    for name in ("a.png", "below/b.png"):
        (tmp_path / "in" / name).write_bytes(encoded())
    usual, locked = os.scandir, True

    def refuses(path):
        if locked and Path(path).name == "below":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    (tmp_path / "in" / "names only").mkdir()
    monkeypatch.setattr(os, "scandir", refuses)
    monkeypatch.setattr(os, "access", lambda path, _: not (locked and path.endswith("only")))
    monkeypatch.setattr("pyramidflow.line.sources.folder._A_DAY", 0.1)
    found = watch(polling=True, rescan_seconds=0.1)
    assert found.wait_for(1) == ["a.png"]
    time.sleep(0.5)
    advice = "(Permission denied): its pictures are not inspected; let the line read it"
    assert [record.message for record in caplog.records] == [
        f"press: {tmp_path}/in/below cannot be listed {advice}",
        f"press: {tmp_path}/in/names only cannot be entered {advice}",
    ]
    assert (found.source.status()["unreadable_folders"], found.recorded.kept) == (2, [])
    locked = False
    assert found.wait_for(2) == ["a.png", "b.png"]
    assert eventually(lambda: found.recorded.kept)
    assert found.source.status()["unreadable_folders"] == 0
    assert len(found.recorded.kept[0]) == 2


def test_a_share_that_goes_while_the_store_is_tidied_is_waited_for(tmp_path, watch, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.sources.folder._A_DAY", 0.05)
    usual, away = os.stat, threading.Event()

    def stat(path, **more):
        if away.is_set() and str(path).startswith(str(tmp_path / "in")):
            raise OSError(116, "Stale file handle", str(path))
        return usual(path, **more)

    (tmp_path / "in" / "0.png").write_bytes(encoded())
    found = watch(polling=True, rescan_seconds=0.2)
    found.wait_for(1)
    assert eventually(lambda: found.recorded.kept)
    monkeypatch.setattr(os, "stat", stat)
    away.set()
    time.sleep(0.3)
    kept = len(found.recorded.kept)
    time.sleep(0.3)
    assert len(found.recorded.kept) == kept
    away.clear()
    (tmp_path / "in" / "1.png").write_bytes(encoded(seed=1))
    assert found.wait_for(2) == ["0.png", "1.png"]


def test_pictures_go_to_an_archive_that_was_away_for_a_while(tmp_path, watch, caplog):
    archive = tmp_path / "done"
    archive.write_bytes(b"a file, where the share is to be")
    (tmp_path / "in" / "0.png").write_bytes(encoded())
    found = watch(after="archive", archive=archive, rescan_seconds=0.1)
    found.wait_for(1)
    assert eventually(lambda: found.source.status()["not_put_away"] == 1)
    time.sleep(0.4)
    assert len(caplog.records) == 1
    archive.unlink()
    assert eventually(lambda: found.source.status()["not_put_away"] == 0)
    assert [path.name for path in archive.rglob("*.png")] == ["0.png"]
    assert (found.names(), found.passed_over) == (["0.png"], 0)


def test_while_the_archive_is_away_few_pictures_are_tried_and_none_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.sources.put_away._MOST_FAILURES", 2)
    paths = [tmp_path / "in" / f"{number}.png" for number in range(5)]
    tried, refused = [], {path.name for path in paths}
    usual = os.rename

    def rename(path, target):
        tried.append(path.name)
        if path.name in refused:
            raise PermissionError(13, "Permission denied")
        usual(path, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(shutil, "copy2", rename)
    (tmp_path / "in").mkdir()
    away = PutAway(tmp_path / "in", tmp_path / "done")
    for path in paths:
        path.write_bytes(encoded())
        away.put(path, changed_and_size(path))
    rounds = []
    for _ in range(3):
        tried.clear()
        away.try_again()
        rounds.append(sorted(set(tried)))
    assert rounds == [["0.png", "1.png"], ["2.png", "3.png"], ["0.png", "4.png"]]
    refused -= {"0.png", "1.png", "3.png", "4.png"}
    away.try_again()
    assert away.left == 1
    assert [path.exists() for path in paths] == [False, False, True, False, False]


def test_a_picture_that_cannot_leave_its_folder_has_no_copy_in_the_archive(
    tmp_path, watch, monkeypatch
):
    def refuses(*paths, **more):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "in" / "0.png").write_bytes(encoded())
    monkeypatch.setattr(os, "rename", refuses)
    monkeypatch.setattr(
        Path,
        "unlink",
        lambda path, usual=Path.unlink: refuses() if path.parent.name == "in" else usual(path),
    )
    found = watch(after="archive", archive=tmp_path / "done", rescan_seconds=0.1)
    assert eventually(lambda: found.source.status()["not_put_away"] == 1)
    time.sleep(0.3)
    assert list((tmp_path / "done").rglob("*.png")) == []
    assert (tmp_path / "in" / "0.png").is_file()


def test_a_folder_that_goes_and_comes_back_is_watched_again(tmp_path, watch):
    found = watch(rescan_seconds=0.2)
    (tmp_path / "in" / "0.png").write_bytes(encoded())
    found.wait_for(1)
    os.rename(tmp_path / "in", tmp_path / "away")
    time.sleep(0.5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.png").write_bytes(encoded(seed=1))
    assert found.wait_for(2)[1:] == ["1.png"]

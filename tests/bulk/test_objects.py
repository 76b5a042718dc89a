"""Pictures in object stores: found, told apart, fetched, and what happens when they are not."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from pyramidflow.bulk import inspecting, objects
from pyramidflow.bulk.listing import find_pictures
from pyramidflow.bulk.objects import find_objects, is_url, local_path, read_object
from pyramidflow.errors import InputError
from tests.bulk.results import by_path, lines_in
from tests.support.command_line import assert_one_sentence

fsspec = pytest.importorskip("fsspec", reason="needs fsspec, of the extra objects")
pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, of the extra line")

LARGEST = 10**9


@pytest.fixture
def store():
    """A store in this process's memory, under ``memory://parts``."""
    found = fsspec.filesystem("memory")
    yield found
    found.rm("/parts", recursive=True)


@pytest.fixture
def filled(store, encoded):
    for index, content in enumerate(encoded):
        store.pipe(f"/parts/{index % 2}/{index}.png", content)
    store.pipe("/parts/notes.txt", b"no picture")
    store.pipe("/parts/.hidden/1.png", encoded[0])
    return store


def names(found):
    return [os.path.basename(each.url) for each in found]


def test_a_folder_an_object_and_a_pattern_are_found(filled, tmp_path):
    assert names(find_objects("memory://parts/0")) == ["0.png", "2.png", "4.png", "6.png"]
    assert names(find_objects("memory://parts/*/[12].png")) == ["2.png", "1.png"]
    assert names(find_objects("memory://parts/notes.txt")) == ["notes.txt"]
    assert find_objects("memory://parts/nothing") == []
    found = find_pictures(["memory://parts"], tmp_path, LARGEST)
    assert len(found.pictures) == 8  # what is hidden is skipped
    assert [(item.path, item.reason) for item in found.left_out] == [
        ("memory:///parts/notes.txt", "not named as an image")
    ]
    assert all(picture.is_object for picture in found.pictures)
    [named] = find_pictures(["memory://parts/notes.txt"], tmp_path, LARGEST).pictures
    assert named.problem is None


def test_another_content_is_another_picture(filled, encoded, tmp_path):
    [before] = find_objects("memory://parts/0/0.png")
    filled.pipe("/parts/0/0.png", encoded[1])
    [after] = find_objects("memory://parts/0/0.png")
    assert before.identity != after.identity
    marks = [{"ETag": '"abc"', "LastModified": "now", "size": 5}, {"size": 5}, {}]
    found = [objects.StoredObject("s3://b/k.png", known).identity for known in marks]
    assert found == ["s3://b/k.png:abc:5", "s3://b/k.png::5", "s3://b/k.png::"]


def test_bulk_reads_objects_and_files_and_goes_on(run, filled, encoded, detector_file, tmp_path):
    (tmp_path / "local.png").write_bytes(encoded[0])
    filled.pipe("/parts/0/broken.png", b"garbage")
    given = ("--model", detector_file, "--output", tmp_path / "out")
    command = ("bulk", "memory://parts", f"file://{tmp_path}/local.png", *given)
    code, _, err = run(*command)
    assert code == 2
    assert "memory:///parts/0/broken.png" in err
    records = by_path(tmp_path / "out")
    assert len(records) == 10
    assert records["memory:///parts/0/0.png"]["score"] == records[f"{tmp_path}/local.png"]["score"]
    assert records["memory:///parts/0/0.png"]["identity"].startswith("memory:///parts/0/0.png:")
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    filled.pipe("/parts/1/new.png", buffer.getvalue())
    assert run(*command)[1].count("\nok  ") == 1


def test_what_cannot_be_fetched_is_tried_again_by_the_next_run(
    run, filled, detector_file, tmp_path, monkeypatch
):
    usual = type(filled).cat_file
    tries = []

    def away(self, path, **given):
        if path.endswith(("3.png", "5.png")):
            tries.append(path)
            raise OSError("slow down") if path.endswith("3.png") else PermissionError("no entry")
        return usual(self, path, **given)

    monkeypatch.setattr(type(filled), "cat_file", away)
    monkeypatch.setattr(objects, "_PAUSES", (0.0, 0.0))
    command = ("bulk", "memory://parts", "--model", detector_file, "--output", tmp_path / "out")
    code, out, err = run(*command)
    assert code == 2
    assert "2 images could not be fetched" in out
    assert "slow down" in err
    assert sorted(map(os.path.basename, tries)) == ["3.png", "3.png", "3.png", "5.png"]
    assert len(lines_in(tmp_path / "out")) == 6
    monkeypatch.undo()
    code, out, err = run(*command)
    assert (code, len(by_path(tmp_path / "out"))) == (0, 8)


def test_a_store_that_is_away_ends_the_run_in_one_sentence(
    run, store, encoded, detector_file, tmp_path, monkeypatch
):
    for index in range(100):
        store.pipe(f"/parts/{index}.png", encoded[0])

    def away(self, path, **given):
        raise OSError("no route")

    monkeypatch.setattr(type(store), "cat_file", away)
    monkeypatch.setattr(objects, "_PAUSES", (0.0, 0.0))
    command = ("bulk", "memory://parts", "--model", detector_file, "--output", tmp_path / "out")
    assert_one_sentence(*(run(*command)[i] for i in (0, 2)), "could not be read (no route)")
    assert inspecting.MOST_AWAY < 100
    monkeypatch.undo()
    assert run(*command)[0] == 0
    assert len(by_path(tmp_path / "out")) == 100


def test_an_object_that_is_gone_or_too_large_is_a_record_with_an_error(
    run, filled, detector_file, tmp_path
):
    with pytest.raises(InputError, match="no such object"):
        read_object("memory://parts/gone.png")
    filled.pipe("/parts/0/large.png", b"x" * 2_000_000)
    command = ("bulk", "memory://parts", "--model", detector_file, "--output", tmp_path / "out")
    filled.rm("/parts/notes.txt")
    code, _, err = run(*command, "--max-megapixels", 0.01)
    assert_one_sentence(code, err, "large.png has 2000000 bytes", "--max-megapixels")
    assert by_path(tmp_path / "out")["memory:///parts/0/large.png"]["verdict"] is None


@pytest.fixture
def bucket(monkeypatch):
    """A bucket of a stand-in of S3 on this machine."""
    server = pytest.importorskip("moto.server", reason="needs moto, of the extra test")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs, of the extra objects")
    standing_in = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    standing_in.start()
    host, port = standing_in.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    found = fsspec.filesystem("s3")
    found.mkdir("parts")
    yield found
    standing_in.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_bucket_is_inspected_and_its_changed_objects_again(
    run, bucket, encoded, detector_file, tmp_path
):
    for index, content in enumerate(encoded):
        bucket.pipe(f"parts/2026/{index}.png", content)
    command = ("--model", detector_file, "--output", tmp_path / "out")
    code, out, err = run("bulk", "s3://parts/2026", *command)
    assert (code, err, out.count("  s3://parts/2026/")) == (0, "", 8)
    # Named itself or by a pattern, an object is the same picture.
    named = ("s3://parts/2026/3.png", "s3://parts/20*/[0-7].png")
    code, out, err = run("bulk", *named, *command)
    assert (code, err, out.count("  s3://")) == (0, "", 0)
    bucket.pipe("parts/2026/3.png", encoded[4])
    bucket.invalidate_cache()
    code, out, err = run("bulk", "s3://parts/2026", *command)
    assert (code, err, out.count("  s3://")) == (0, "", 1)
    records = lines_in(tmp_path / "out")
    assert [record["path"] for record in records][8:] == ["s3://parts/2026/3.png"]
    assert records[8]["score"] == records[4]["score"]
    code, _, err = run("bulk", "s3://nowhere/2026", *command)
    assert_one_sentence(code, err, "s3://nowhere/2026")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://me:secret@host/parts", "password"),
        ("zip://a.png::memory://parts.zip", "chain"),
        ("nowhere://parts", "cannot be listed"),
        ("memory://parts/nothing", "nothing to inspect"),
    ],
)
def test_urls_that_cannot_be_used_are_refused(run, detector_file, tmp_path, url, words):
    code, _, err = run("bulk", url, "--model", detector_file, "--output", tmp_path / "out")
    assert_one_sentence(code, err, words)
    assert "secret" not in err


def test_a_protocol_whose_package_is_missing_says_which(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"Install s3fs.*pyramidflow\[objects\]"):
        find_objects("s3://bucket/parts")


def test_files_may_be_named_by_url(tmp_path):
    assert local_path(f"file://{tmp_path}/a b.png") == f"{tmp_path}/a b.png"
    assert local_path("memory://parts") is None
    assert is_url("s3://bucket")
    assert not is_url("C:/parts")

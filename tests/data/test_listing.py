"""Image files found in folders, and what is left out there."""

import os
import sys
from pathlib import Path

import pytest

from pyramidflow.data import IMAGE_SUFFIXES, find_images, list_images, read_image
from pyramidflow.errors import InputError
from tests.support.image_files import put_image, refused


def left_out(folder, recursive=False):
    found = find_images(folder, recursive).left_out
    return {item.path.relative_to(folder).as_posix(): item.reason for item in found}


def test_images_are_listed_by_suffix_in_one_order(tmp_path):
    names = ["b.PNG", "a10.png", "a2.jpg", "Z.tiff", "c.webp", "d.bmp", "e.JPEG", "f.tif"]
    names += ["g.jfif", "h.jpe", "i.gif", "j.tga", "k.pbm", "l.pgm", "m.ppm", "n.PNM"]
    names += ["o.jp2", "p.j2k"]
    for name in [*names, "._b.png", ".hidden.jpg", "notes.txt", "png", "Thumbs.db"]:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == [
        "Z.tiff",
        "a10.png",
        "a2.jpg",
        *(name for name in sorted(names) if name not in ("Z.tiff", "a10.png", "a2.jpg")),
    ]
    assert {Path(name).suffix.lower() for name in names} == set(IMAGE_SUFFIXES)


def test_what_is_left_out_is_counted_with_its_reason(tmp_path):
    put_image(tmp_path / "a.png")
    put_image(tmp_path / "sub" / "deeper" / "b.png")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    for name in ("c.heic", "sub/d.DNG", "README", ".hidden.heic", "Thumbs.db", "sub/desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    endings = {
        "c.heic": "ending .heic is not read",
        "sub/d.DNG": "ending .DNG is not read",
        "README": "no ending",
        "linked": "linked folder",
    }
    assert left_out(tmp_path) == {**endings, "sub/deeper/b.png": "in a sub-folder"}
    assert left_out(tmp_path, recursive=True) == endings
    order = [item.path.name for item in find_images(tmp_path).left_out]
    assert order == ["README", "c.heic", "linked", "d.DNG", "b.png"]


def test_a_circle_of_links_ends(tmp_path):
    put_image(tmp_path / "sub" / "a.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert [path.name for path in list_images(tmp_path, recursive=True)] == ["a.png"]
    assert left_out(tmp_path, recursive=True) == {"sub/up": "linked folder"}


def test_a_linked_folder_is_listed_when_it_is_given(tmp_path):
    put_image(tmp_path / "parts" / "a.png")
    (tmp_path / "today").symlink_to(tmp_path / "parts")
    assert list_images(tmp_path / "today") == [tmp_path / "today" / "a.png"]


def test_images_that_cannot_be_read_are_listed_all_the_same(tmp_path):
    (tmp_path / "dangling.png").symlink_to(tmp_path / "no")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    found = list_images(tmp_path)
    assert [path.name for path in found] == ["circle.png", "dangling.png", "pipe.png"]
    for path in found:
        refused(
            lambda path=path: read_image(path), path, "give" if path.stem != "circle" else "mend"
        )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "no permission"),
        (OSError(116, "Stale file handle"), "cannot be listed (Stale file handle)"),
    ],
)
def test_a_folder_that_cannot_be_listed_ends_nothing(tmp_path, monkeypatch, error, reason):
    put_image(tmp_path / "a.png")
    put_image(tmp_path / "closed" / "b.png")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "closed":
            raise error
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert [path.name for path in list_images(tmp_path, recursive=True)] == ["a.png"]
    assert left_out(tmp_path, recursive=True) == {"closed": reason}
    refused(lambda: list_images(tmp_path / "closed"), tmp_path / "closed", error.strerror, "mend")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps names that are not UTF-8")
def test_names_that_are_not_utf_8_are_listed_and_read(tmp_path):
    name = os.fsdecode(b"teil-\xe4.png")
    put_image(tmp_path / "a.png").rename(tmp_path / name)
    (path,) = list_images(tmp_path)
    assert path.name == name
    assert read_image(path).shape == (6, 5, 3)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes") as caught:
        read_image(path)
    str(caught.value).encode()


def test_folders_below_are_listed_only_on_request(tmp_path):
    names = ["a/2.png", "a.png", "a/b/1.png", "a-1/3.png"]
    for name in [*names, ".cache/4.png", "a/.x/5.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path, recursive=True)]
    assert found == ["a-1/3.png", "a.png", "a/2.png", "a/b/1.png"]
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_listing_refuses_a_missing_folder_and_a_file(tmp_path):
    refused(lambda: list_images(tmp_path / "no"), tmp_path / "no", "no such folder", "give")
    file = put_image(tmp_path / "a.png")
    refused(lambda: list_images(file), file, "is a file", "give the folder")
    refused(lambda: list_images(tmp_path / "a\0b"), "cannot be listed", "null")
    refused(lambda: list_images(tmp_path / ("n" * 300)), "cannot be listed", "too long")

"""Files that are written whole, locks, and names that are safe everywhere."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow.errors import InputError, WeakStorageWarning
from pyramidflow.io.files import exclusive, refuse_checkpoint_name, write_atomically
from pyramidflow.io.lines import json_line
from pyramidflow.io.names import (
    OutputNames,
    markdown_cell,
    printable,
    readable_bytes,
    safe_component,
    user_path,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 部品 😀.png", "plain ä 部品 😀.png"),
        (Path("a/b.png"), os.path.join("a", "b.png")),
        ("line\nbreak\r\ttab", r"line\nbreak\r\ttab"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("a\u2028b\u2066", r"a\u2028b\u2066"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("👨\u200d👩", "👨\u200d👩"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("[bold]:smile:|", "[bold]:smile:|"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
@settings(max_examples=300, deadline=None)
def test_printable_is_one_line_of_utf8_without_controls(text):
    line = printable(text)
    assert line.encode().decode() == line
    assert len(line.splitlines()) <= 1
    bad = {c for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad <= set("\u200c\u200d")
    assert printable(line) == line


def test_bytes_that_are_utf8_after_all_become_characters():
    in_the_c_locale = "ä.png".encode().decode("ascii", "surrogateescape")
    assert readable_bytes(in_the_c_locale) == "ä.png"
    assert printable(in_the_c_locale) == "ä.png"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("metal_nut", "metal_nut"),
        ("a|b", r"a\|b"),
        ("`code` *x* _y_", r"\`code\` \*x\* \_y\_"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("[x](y)", r"\[x\](y)"),
        ("two\nrows\\", r"two\\nrows\\"),
    ],
)
def test_markdown_cell(text, cell):
    assert markdown_cell(text) == cell


def test_user_path_knows_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_path("~/x.png") == tmp_path / "x.png"
    assert user_path("a/~/x.png") == Path("a/~/x.png")
    assert user_path("~no-such-user-here.png") == Path("~no-such-user-here.png")


@pytest.mark.parametrize(
    ("part", "safe"),
    [
        ("plate 1", "plate 1"),
        ('a<b>c:d"e|f?g*h\\i', "a_b_c_d_e_f_g_h_i"),
        ("a\x01\n\u202eb", "a___b"),
        ("dot.", "dot_"),
        ("space ", "space_"),
        ("...", ".._"),
        ("", "_"),
        ("con", "_con"),
        ("Nul.tar", "_Nul.tar"),
        ("COM1", "_COM1"),
        ("console", "console"),
        (os.fsdecode(b"\xff"), "_xff"),
        ("e\u0301", "\xe9"),
    ],
)
def test_safe_component(part, safe):
    assert safe_component(part) == safe


@given(st.text(st.characters(codec=None, exclude_characters="/"), max_size=300))
@settings(max_examples=300, deadline=None)
def test_safe_components_are_taken_by_every_file_system(part):
    name = safe_component(part)
    assert 0 < len(name.encode()) <= 203
    assert not set(name) & set('<>:"/\\|?*')
    assert name[-1] not in ". "
    assert safe_component(name) == name


def test_output_names_are_unique_where_cases_and_forms_are_not_told_apart():
    names = OutputNames([".png"])
    wanted = ["a", "A", "a", "stra\xdfe", "STRASSE", "\xe9", "e\u0301", "b/x", "B/x"]
    assert [names.claim(name) for name in wanted] == [
        *("a", "A-2", "a-3", "stra\xdfe", "STRASSE-2", "\xe9", "\xe9-2", "b/x", "B/x-2")
    ]


def test_no_output_name_is_a_file_and_a_folder():
    names = OutputNames([".png", ".tiff"])
    assert names.claim("foo") == "foo"
    assert names.claim("foo.png/bar") == "foo.png-2/bar"
    assert names.claim("foo.png/baz") == "foo.png-2/baz"
    assert names.claim("foo.tiff/bar") == "foo.tiff-2/bar"
    assert names.claim("pic.png/x") == "pic.png/x"
    assert names.claim("pic") == "pic-2"


def test_output_names_keep_away_from_files_that_stay():
    names = OutputNames([".png"], taken=["x.png", "deep/Y.png"])
    assert names.claim("X") == "X-2"
    assert names.claim("deep/y") == "deep/y-2"


def test_long_output_names_are_cut_and_stay_unique(tmp_path):
    names = OutputNames([".png", ".tiff"])
    claimed = [names.claim(stem) for stem in ("x" * 246 + "a", "x" * 246 + "b", "部" * 85)]
    assert len(set(claimed)) == 3
    for name in claimed:
        (tmp_path / f"{name}.tiff").write_bytes(b"")


def test_many_alike_names_are_numbered_in_linear_time():
    names = OutputNames([".png"])
    assert [names.claim("x") for _ in range(20_000)][-1] == "x-20000"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@posix
def test_writing_needs_no_chmod_and_honours_the_mask_without_touching_it(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    previous = os.umask(0o027)
    try:
        for name in ("chmod", "fchmod", "umask", "chown"):
            monkeypatch.setattr(os, name, refuse)
        write_atomically(tmp_path / "f", lambda file: file.write(b"x"))
        monkeypatch.undo()
    finally:
        os.umask(previous)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_missing_fsync_is_said_once(tmp_path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for content in (b"1", b"2"):
            write_atomically(tmp_path / "f", lambda file, content=content: file.write(content))
    assert (tmp_path / "f").read_bytes() == b"2"
    assert [w.category for w in said] == [WeakStorageWarning]
    assert str(tmp_path) in str(said[0].message)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failed_fsync_is_an_error_and_leaves_the_old_file(tmp_path, monkeypatch, number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match="could not be written"):
        write_atomically(tmp_path / "f", lambda file: file.write(b"new"))
    assert (tmp_path / "f").read_bytes() == b"old"
    assert names_in(tmp_path) == ["f"]


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get
)
@posix
def test_a_missing_flock_is_said_once_and_the_work_goes_on(tmp_path, monkeypatch, number):
    import fcntl

    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            with exclusive(tmp_path / "f"):
                write_atomically(tmp_path / "f", lambda file: file.write(b"x"))
    assert (tmp_path / "f").read_bytes() == b"x"
    assert [w.category for w in said] == [WeakStorageWarning]
    assert f"{tmp_path} has no locks" in str(said[0].message)


@posix
def test_what_a_killed_writer_left_is_removed_by_the_next_holder_of_the_lock(tmp_path):
    script = (
        "import os, sys; from pathlib import Path\n"
        "from pyramidflow.io.files import exclusive, write_atomically\n"
        "def die(file): file.write(b'part'); file.flush(); os.kill(os.getpid(), 9)\n"
        "with exclusive(Path(sys.argv[1])): write_atomically(Path(sys.argv[2]), die)\n"
    )
    target, other = tmp_path / "f.safetensors", tmp_path / "g.safetensors"
    for file in (target, target, other):
        dead = subprocess.run([sys.executable, "-c", script, str(target), str(file)])
        assert dead.returncode == -signal.SIGKILL
    # The second run removed what the first left; the third did for the second.
    assert len([name for name in names_in(tmp_path) if name.endswith(".tmp")]) == 1
    with exclusive(target, covers=[other]):
        assert names_in(tmp_path) == [f".{target.name}.lock"]


@posix
def test_a_termination_removes_the_temporary_file(tmp_path):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from pyramidflow.interrupt import termination_as_ctrl_c\n"
        "from pyramidflow.io.files import write_atomically\n"
        "def slow(file): print('writing', flush=True); time.sleep(60)\n"
        "with termination_as_ctrl_c(): write_atomically(Path(sys.argv[1]), slow)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "f")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    assert len(names_in(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert names_in(tmp_path) == []


def test_names_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    target = tmp_path / ("n" * 255)
    with exclusive(target):
        write_atomically(target, lambda file: file.write(b"x"))
    assert target.read_bytes() == b"x"


def test_a_checkpoint_is_never_an_output(tmp_path):
    for name in ("x.checkpoint.safetensors", ".checkpoint.safetensors"):
        with pytest.raises(InputError, match="is the name of the checkpoint"):
            refuse_checkpoint_name(tmp_path / name)
        with pytest.raises(InputError, match="another name"), exclusive(tmp_path / name):
            pass
    refuse_checkpoint_name(tmp_path / "x.safetensors")
    assert names_in(tmp_path) == []


@posix
def test_a_link_keeps_leading_to_the_file_and_shares_its_lock(tmp_path):
    (tmp_path / "v1").write_bytes(b"old")
    (tmp_path / "current").symlink_to("v1")
    write_atomically(tmp_path / "current", lambda file: file.write(b"new"))
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "v1").read_bytes() == b"new"
    with (
        exclusive(tmp_path / "v1"),
        pytest.raises(InputError, match="another process"),
        exclusive(tmp_path / "current"),
    ):
        pass


@posix
def test_pipes_and_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="a device or a pipe"):
        write_atomically(tmp_path / "pipe", lambda file: file.write(b"x"))
    with pytest.raises(InputError, match="a device or a pipe"), exclusive(tmp_path / "pipe"):
        pass
    with pytest.raises(InputError, match="is a folder"), exclusive(tmp_path):
        pass


def test_threads_that_write_one_file_leave_one_whole_content(tmp_path):
    contents = [bytes([65 + i]) * 10_000 for i in range(8)]
    threads = [
        threading.Thread(
            target=write_atomically, args=(tmp_path / "f", lambda file, c=c: file.write(c))
        )
        for c in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents
    assert names_in(tmp_path) == ["f"]


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_a_json_line_is_one_line_and_reads_back(record):
    line = json_line(record)
    assert json.loads(line) == record
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1


def test_a_json_line_holds_nothing_that_a_terminal_obeys():
    acting = [chr(n) for n in (*range(32), *range(0x7F, 0xA0), 0x200E, 0x2028, 0x202E, 0x2066)]
    line = json_line({"path": "".join(acting)}).decode().rstrip("\n")
    assert not set(acting) & set(line)
    assert json.loads(json_line({"path": os.fsdecode(b"\xff.png")}))["path"] == "\udcff.png"

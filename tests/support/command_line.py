"""The command line as tests call it."""

import json
import signal
import subprocess
import sys

import pytest
from PIL import Image

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and paths")


def assert_one_sentence(code, err, *words):
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert str(word) in err


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pyramidflow", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def records_in(folder):
    lines = (folder / "results.jsonl").read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in lines]


def files_in(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def assert_whole(folder):
    """Each picture that a record names is there and complete, and nothing else is."""
    named = {"results.jsonl", "results.run.json", ".results.jsonl.lock"}
    for record in records_in(folder):
        for key in {"overlay", "map"} & record.keys():
            named.add(record[key])
            with Image.open(folder / record[key]) as picture:
                picture.load()
    assert set(files_in(folder)) == named

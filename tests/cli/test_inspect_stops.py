"""``pyramidflow inspect``: how it stops, goes on and makes room, and what ends its printing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyramidflow import Detector
from tests.support.command_line import (
    assert_one_sentence,
    assert_whole,
    files_in,
    posix,
    records_in,
    start,
)
from tests.support.tiny import write_image


def stopped_run(image, arguments, number, records=3):
    """Start an inspection of many images and stop it by a signal after some records."""
    process = start("inspect", *[image] * 5000, *arguments)
    for _ in range(records):
        process.stdout.readline()
    process.send_signal(number)
    # Not communicate: it does not return what readline has read ahead.
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(timeout=60), out, err


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_finishes_the_image_in_hand_and_tells_the_counts(image, arguments, tmp_path, number):
    code, out, err = stopped_run(image, (*arguments, "--maps"), number)
    assert code == 130
    assert err == "\nstopping after this image; once more stops at once\n"
    records = records_in(tmp_path / "out")
    assert 3 <= len(records) < 5000
    assert_whole(tmp_path / "out")
    assert out.count("ok  ") == len(records) - 3
    assert f"{len(records)} ok, 0 ng, 0 errors;" in out.splitlines()[len(records) - 3]
    assert "--resume" in out


@posix
def test_a_second_signal_stops_at_once(arguments, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    script = (
        "import time; from pyramidflow.line.pipeline import part\n"
        "def slow(path, decoding): print('reading', flush=True); time.sleep(60)\n"
        "part.read_image = slow\n"
        f"from pyramidflow.cli import main; main({['inspect', 'x.png', *map(str, arguments)]})\n"
    )
    (tmp_path / "x.png").write_bytes(b"x")
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == "\n"
    assert "once more stops at once" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "interrupted\n")
    assert files_in(tmp_path / "out") == [
        ".results.jsonl.lock",
        "results.jsonl",
        "results.run.json",
    ]


@posix
def test_resume_goes_on_after_kills_and_ends_as_an_unbroken_run(
    run, detector_file, arguments, tmp_path
):
    rng = np.random.default_rng(0)
    for index in range(300):
        write_image(tmp_path / "many" / f"{index % 7}" / f"{index:03}.png", rng)
    whole = tmp_path / "whole"
    command = ("inspect", tmp_path / "many", "--model", detector_file, "--maps")
    assert run(*command, "--output", whole)[0] == 0
    command = (*command, "--output", tmp_path / "out")
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = start(*command, "--resume")
        for _ in range(30):
            process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
        done = len(records_in(tmp_path / "out"))
        assert 20 < done < 300
    with (tmp_path / "out" / "results.jsonl").open("ab") as file:
        file.write(b'{"path": "cut o')
    code, out, err = run(*command, "--resume")
    assert (code, err) == (0, "")
    assert f"resumed: {done} images were inspected earlier" in out
    assert "\n300 ok, 0 ng, 0 errors;" in out
    assert records_in(tmp_path / "out") == records_in(whole)
    assert files_in(tmp_path / "out") == files_in(whole)
    assert_whole(tmp_path / "out")


def test_resume_tries_errors_again_and_counts_what_was_found_before(
    run, tiny_set, detector_file, tmp_path
):
    strict = Detector.load(detector_file)
    strict.threshold = 1e-6
    strict.save(tmp_path / "strict.safetensors")
    parts = tmp_path / "parts"
    shutil.copytree(tiny_set / "test" / "good", parts)
    (parts / "001.png").write_bytes(b"broken")
    command = ("inspect", parts, parts / "000.png", "--model", tmp_path / "strict.safetensors")
    command = (*command, "--output", tmp_path / "out", "--resume", "--fail-on-defect")
    code, out, _ = run(*command)
    assert code == 2
    assert "4 ng, 1 errors" in out
    shutil.copy(parts / "000.png", parts / "001.png")
    shutil.copy(parts / "000.png", parts / "000-new.png")
    code, out, _ = run(*command)
    assert code == 1  # for what the first run found
    assert "resumed: 4 images were inspected earlier" in out
    assert "0 ok, 6 ng, 0 errors" in out
    paths = [record["path"] for record in records_in(tmp_path / "out")]
    assert sorted(paths).count(str(parts / "000.png")) == 2
    assert len(paths) == 6
    assert len({record["overlay"] for record in records_in(tmp_path / "out")}) == 6
    assert_whole(tmp_path / "out")


def test_resume_refuses_results_of_another_model_or_setting(
    run, image, detector_file, arguments, tmp_path
):
    assert run("inspect", image, *arguments)[0] == 0
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    other = Detector.load(detector_file)
    other.threshold *= 2
    other.save(tmp_path / "other.safetensors")
    changed = ("--model", tmp_path / "other.safetensors", "--output", tmp_path / "out")
    for options, word in ((changed, "model"), ((*arguments, "--maps"), "maps")):
        code, _, err = run("inspect", image, *options, "--resume")
        assert_one_sentence(code, err, f"were made with {word}", "start without --resume")
    (tmp_path / "out" / "results.run.json").unlink()
    code, _, err = run("inspect", image, *arguments, "--resume")
    assert_one_sentence(code, err, "results.run.json does not say")
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def test_resume_refuses_damaged_results(run, image, arguments, tmp_path):
    assert run("inspect", image, *arguments)[0] == 0
    results = tmp_path / "out" / "results.jsonl"
    for damage in (b"\x00\n", b'{"path": 1}\n', b"[" * 100_000 + b"\n", b'{"path": "x"}\n'):
        results.write_bytes(damage)
        code, _, err = run("inspect", image, *arguments, "--resume")
        assert_one_sentence(code, err, "line 1 of", "is damaged")
        assert results.read_bytes() == damage


def test_a_new_run_removes_the_pictures_of_the_earlier_and_nothing_else(
    run, tiny_set, image, arguments, tmp_path
):
    output = tmp_path / "out"
    assert run("inspect", tiny_set / "test", *arguments, "--maps")[0] == 0
    (output / "overlays" / "mine.png").write_bytes(b"mine")
    (tmp_path / "outside.png").write_bytes(b"mine")
    with (output / "results.jsonl").open("a") as file:
        for name in ("../outside.png", "overlays/../../outside.png", str(tmp_path / "outside.png")):
            file.write(json.dumps({"path": "x", "error": "y", "overlay": name}) + "\n")
        file.write('{"path": "x", "error": "y", "map": "overlays/mine.png"}\n')
        file.write('{"path": "x", "error": "y", "overlay": "overlays/\\ud800.png"}\n')
    assert run("inspect", image, *arguments)[0] == 0
    assert (tmp_path / "outside.png").read_bytes() == b"mine"
    (output / "overlays" / "mine.png").unlink()
    assert_whole(output)
    assert not (output / "overlays" / "dent").exists()


def test_a_full_disk_stops_with_one_sentence_and_leaves_whole_files(
    run, monkeypatch, tiny_set, arguments, tmp_path
):
    usual, count = Path.replace, iter(range(100))

    def fill(self, target):
        if self.name == ".picture.tmp" and next(count) == 2:
            raise OSError(28, "No space left on device")
        return usual(self, target)

    monkeypatch.setattr(Path, "replace", fill)
    code, _, err = run("inspect", tiny_set / "test", *arguments)
    assert_one_sentence(code, err, "the disk is full")
    assert ["error" in record for record in records_in(tmp_path / "out")] == [0, 0, 1]
    assert_whole(tmp_path / "out")
    monkeypatch.undo()
    assert run("inspect", tiny_set / "test", *arguments, "--resume")[0] == 0
    assert len(records_in(tmp_path / "out")) == 8
    assert_whole(tmp_path / "out")


@posix
def test_a_reader_that_goes_ends_the_printing_alone(tiny_set, image, arguments, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    for extra, code in (([], 0), ([tmp_path / "broken.png"], 2)):
        command = ["inspect", *[image] * 100, *extra, *arguments]
        process = start(*command)
        assert process.stdout.readline().startswith("ok")
        process.stdout.close()
        process.stderr.close()
        assert process.wait(timeout=60) == code
        assert len(records_in(tmp_path / "out")) == 100 + len(extra)


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_is_lost_on_a_full_disk_is_told(image, arguments, tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "pyramidflow", "inspect", image, *map(str, arguments)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert_one_sentence(result.returncode, result.stderr, "standard output could not be written")
    assert len(records_in(tmp_path / "out")) == 1


@posix
def test_closed_streams_end_nothing(image, arguments, tmp_path):
    command = [sys.executable, "-m", "pyramidflow", "inspect", str(image), *map(str, arguments)]
    closing = 'exec "$@" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closing, "sh", *command]).returncode == 0
    assert len(records_in(tmp_path / "out")) == 1

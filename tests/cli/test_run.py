"""``pyramidflow run``: what it prints, how it stops, and what it takes up while it runs."""

import json
import shutil
import signal
import sqlite3
import time

import numpy as np
import pytest

from pyramidflow import Detector
from tests.support.command_line import assert_one_sentence, posix, start
from tests.support.tiny import write_image

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")
pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")

TOML = """
[[stations]]
name = "press"
detector = "part.safetensors"
source = {kind = "folder", path = "in", after = "archive", archive = "done"}

[[sinks]]
kind = "jsonl"
folder = "records"
"""


@pytest.fixture
def line(tmp_path, detector_file):
    """A folder with a configuration and its detector."""
    shutil.copy(detector_file, tmp_path / "part.safetensors")
    (tmp_path / "line.toml").write_text(TOML)
    (tmp_path / "in").mkdir()
    return tmp_path / "line.toml"


def records_in(folder):
    paths = sorted((folder / "records").glob("*.jsonl"))
    return [json.loads(text) for path in paths for text in path.read_text().splitlines()]


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--example", "line.toml"), "--example is given with line.toml: it prints"),
        (("--schema", "line.toml"), "--schema is given with line.toml: it prints"),
        (("--example", "--check"), "--example and --check are given"),
        (("--example", "--schema"), "--example and --schema are given"),
        (("--schema", "--check"), "--schema and --check are given"),
    ],
)
def test_what_prints_does_nothing_else(run, given, words):
    code, out, err = run("run", *given)
    assert (code, out) == (2, "")
    assert words in err


def test_the_example_and_the_schema_are_printed_and_a_check_looks_at_everything(
    run, line, tmp_path
):
    code, out, err = run("run", "--example")
    assert (code, err) == (0, "")
    assert out.startswith("# A line of PyramidFlow")
    assert json.loads(run("run", "--schema")[1])["title"] == "Line"
    code, out, err = run("run", line, "--check")
    assert (code, err) == (0, "")
    assert "is in order: 1 station(s) (press), 1 sink(s)" in out
    assert not (tmp_path / "line.sqlite").exists()
    (tmp_path / "part.safetensors").write_bytes(b"x")
    code, _, err = run("run", line, "--check")
    assert_one_sentence(code, err, "part.safetensors")
    code, _, err = run("run")
    assert_one_sentence(code, err, "the configuration is missing")
    line.write_text(TOML.replace("after", "afer"))
    code, _, err = run("run", line)
    assert_one_sentence(code, err, "stations[0].source.afer is 'archive'")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_hand_and_a_start_goes_on(line, tmp_path, number):
    rng = np.random.default_rng(0)
    for index in range(3):
        write_image(tmp_path / "in" / f"{index}.png", rng)
    process = start("run", line)
    wait_for(lambda: len(records_in(tmp_path)) == 3)
    write_image(tmp_path / "in" / "3.png", rng)
    wait_for(lambda: len(records_in(tmp_path)) == 4)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "press: 4 ok, 0 review, 0 ng, 0 errors, 0 late, 0 dropped" in err
    write_image(tmp_path / "in" / "4.png", rng)
    process = start("run", line)
    wait_for(lambda: len(records_in(tmp_path)) == 5)
    process.send_signal(number)
    process.communicate(timeout=60)
    names = [record["path"].rpartition("/")[2] for record in records_in(tmp_path)]
    assert names == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert len(list((tmp_path / "done").rglob("*.png"))) == 5


@posix
def test_a_second_process_on_one_store_says_so_and_ends(run, line, tmp_path):
    write_image(tmp_path / "in" / "0.png", np.random.default_rng(0))
    process = start("run", line)
    wait_for(lambda: len(records_in(tmp_path)) == 1)
    code, _, err = run("run", line)
    assert_one_sentence(code, err.splitlines(keepends=True)[-1], "another line runs on it")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "press: 1 ok" in err


@posix
def test_a_hangup_takes_a_changed_detector(line, tmp_path, detector_file):
    rng = np.random.default_rng(0)
    process = start("run", line)
    write_image(tmp_path / "in" / "0.png", rng)
    wait_for(lambda: len(records_in(tmp_path)) == 1)
    strict = Detector.load(detector_file)
    strict.threshold = 1e-6
    strict.save(tmp_path / "part.safetensors")
    process.send_signal(signal.SIGHUP)
    while "inspects with" not in process.stderr.readline():
        assert process.poll() is None
    write_image(tmp_path / "in" / "1.png", rng)
    wait_for(lambda: len(records_in(tmp_path)) == 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert [record["verdict"] for record in records_in(tmp_path)] == ["ok", "ng"]


def test_a_line_whose_sources_end_ends_with_the_code_of_an_inspection(run, line, tmp_path):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "in" / "0.png", rng)
    line.write_text(
        TOML.replace(', after = "archive", archive = "done"', "").replace(
            'kind = "folder", path = "in"', 'kind = "files", paths = ["in"]'
        )
    )
    assert run("run", line)[0] == 0
    (tmp_path / "in" / "1.png").write_bytes(b"broken")
    assert run("run", line)[0] == 2
    assert len(records_in(tmp_path)) == 2


@posix
def test_every_part_has_one_record_after_kills(line, tmp_path):
    """Kills at a few moments; benchmarks/line/kills.py does it at fifty."""
    rng = np.random.default_rng(0)
    for moment in (0.0, 0.3):
        process = start("run", line)
        before = len(records_in(tmp_path))
        for index in range(40):
            write_image(tmp_path / "in" / f"{moment}-{index:02}.png", rng)
        wait_for(lambda before=before: len(records_in(tmp_path)) > before)
        time.sleep(moment)
        process.kill()
        process.communicate(timeout=60)
    process = start("run", line)
    wait_for(lambda: not list((tmp_path / "in").glob("*.png")))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    with sqlite3.connect(tmp_path / "line.sqlite") as store:
        [[count, identities]] = store.execute(
            "select count(*), count(distinct identity) from parts"
        )
    assert (count, identities) == (80, 80)
    assert len({record["identity"] for record in records_in(tmp_path)}) == 80

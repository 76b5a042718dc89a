"""``pyramidflow serve``: one command from a detector file to its page."""

import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from pyramidflow import Detector
from pyramidflow.errors import InputError
from tests.line.preparing import held_preparations
from tests.support.command_line import assert_one_sentence, posix, start

for library in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
    pytest.importorskip(library, reason=f"needs {library}, of the extra service")

SLOW = """
import os, sys, time
from pyramidflow.interrupt import checkpoint
from pyramidflow.line.pipeline.inspector import OpenedDetector

usual = OpenedDetector.prepared

def slow(opened):
    while not os.path.exists("go"):
        checkpoint()
        time.sleep(0.02)
    return usual(opened)

OpenedDetector.prepared = slow
from pyramidflow.cli import main
main(sys.argv[1:])
"""
"""The program, whose detectors get ready once a file is there."""


@pytest.fixture
def detector(tmp_path, detector_file):
    return shutil.copy(detector_file, tmp_path / "part.safetensors")


@pytest.fixture
def start_slow(tmp_path):
    """Starts the program in the test's folder."""
    started = []

    def start_it(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield start_it
    for process in started:
        process.kill()
        process.communicate()


def read_until(process, words):
    """Lines of standard error up to one with these words."""
    lines = [""]
    while words not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1] or process.poll() is None, lines
    return "".join(lines)


def page_of(process):
    return read_until(process, "the page is at").split()[-1].rstrip("/")


@posix
def test_a_detector_file_is_served_until_a_stop(tmp_path, detector, image):
    import httpx

    token = tmp_path / "token"
    process = start("serve", detector, "--port", 0, "--token-file", token)
    url = page_of(process)
    assert "<h1>Live</h1>" in httpx.get(f"{url}/").text
    read_until(process, "line: ready to inspect")
    bearer = {"Authorization": f"Bearer {token.read_text().strip()}"}
    answer = httpx.post(f"{url}/inspect", content=image.read_bytes(), headers=bearer, timeout=60)
    assert answer.json()["verdict"] == "ok"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "line: 1 ok" in err
    assert token.read_text().strip() not in err


def test_another_address_without_a_token_is_refused(run, tmp_path, detector_file):
    detector = tmp_path / "part.safetensors"
    shutil.copy(detector_file, detector)
    code, _, err = run("serve", detector, "--host", "0.0.0.0")
    assert_one_sentence(code, err, "has no token")


def _untaught(folder):
    detector = Detector.load(folder / "part.safetensors")
    detector.threshold = None
    detector.save(folder / "untaught.safetensors")


LINE = """
store = "line.sqlite"
[[stations]]
name = "press"
detector = "part.safetensors"
"""
PYTHON = 'source = {kind = "python"}\n'
REFUSED = {
    "missing.safetensors": (None, "missing.safetensors"),
    "broken.safetensors": ("broken", "broken.safetensors"),
    "untaught.safetensors": (_untaught, "has no threshold yet"),
    "half.toml": (f'{LINE}precision = "half"\ndevice = "cpu"\n{PYTHON}', "the precision is 'half'"),
    "tpu.toml": (f'{LINE}device = "tpu"\n{PYTHON}', "the device 'tpu' cannot be used here"),
    "source.toml": (
        f'{LINE}source = {{kind = "files", paths = ["in/*.png"]}}\n',
        "source.paths: no file fits",
    ),
    "sink.toml": (f'{LINE}{PYTHON}[[sinks]]\nkind = "database"\n', "exactly one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_before_anything_listens(run, tmp_path, detector, name):
    content, words = REFUSED[name]
    if callable(content):
        content(tmp_path)
    elif content is not None:
        (tmp_path / name).write_text(content)
    with held_preparations():
        code, _, err = run("serve", tmp_path / name, "--port", 0)
    assert_one_sentence(code, err, words)


def test_an_address_that_is_taken_is_refused_at_once(run, detector):
    with held_preparations(), socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run("serve", detector, "--port", taken.getsockname()[1])
    assert_one_sentence(code, err, "cannot be listened at")


@pytest.mark.parametrize("command", [["serve", "--port", 0], ["run"], ["run", "--check"]], ids=str)
def test_a_detector_that_does_not_get_ready_ends_the_program(run, tmp_path, detector, command):
    (tmp_path / "line.toml").write_text(LINE + PYTHON)
    with held_preparations(InputError("the budget is 1 byte: give more.")) as go:
        go.set()
        code, _, err = run(*command, tmp_path / "line.toml")
    said = err.splitlines(keepends=True)[-1]
    assert_one_sentence(code, said, "line.toml: stations[0]: the budget is 1 byte")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_detector_prepares_ends_at_once(start_slow, detector, number):
    import httpx

    process = start_slow("serve", detector, "--port", 0)
    url = page_of(process)
    assert httpx.get(f"{url}/ready").json()["preparing"] == ["line"]
    read_until(process, "line: preparing")
    process.send_signal(number)
    _, err = process.communicate(timeout=120)  # the detector would never be ready
    assert process.returncode == 130, err
    assert "Traceback" not in err


@posix
def test_a_hangup_while_the_detector_prepares_waits(start_slow, tmp_path, detector):
    process = start_slow("serve", detector, "--port", 0)
    read_until(process, "line: preparing")
    strict = Detector.load(detector)
    strict.threshold = 1e-6
    strict.save(detector)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    (tmp_path / "go").touch()
    said = read_until(process, "inspects with")
    assert "line: ready to inspect" in said
    assert "at threshold 1e-06" in said
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130

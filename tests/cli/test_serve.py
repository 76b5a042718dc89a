"""``pyramidflow serve``: one command from a detector file to its page."""

import shutil
import signal

import pytest

from tests.support.command_line import assert_one_sentence, posix, start

for library in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
    pytest.importorskip(library, reason=f"needs {library}, of the extra service")


@posix
def test_a_detector_file_is_served_until_a_stop(tmp_path, detector_file, image):
    import httpx

    detector, token = tmp_path / "part.safetensors", tmp_path / "token"
    shutil.copy(detector_file, detector)
    process = start("serve", detector, "--port", 0, "--token-file", token)
    text = ""
    while "the page is at" not in text:
        text = process.stderr.readline()
        assert process.poll() is None
    url = text.split()[-1].rstrip("/")
    assert "<h1>Live</h1>" in httpx.get(f"{url}/").text
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

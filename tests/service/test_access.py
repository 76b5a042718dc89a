"""Who may read, who may change, and from where."""

import os
import stat

import pytest

from pyramidflow.errors import InputError
from pyramidflow.line.service_settings import ServiceSettings
from tests.service.served import BEARER, TOKEN, configuration, picture, served

from pyramidflow.service.access import Access, is_loopback, token_of  # isort: skip

CHANGES = {
    "/inspect": None,
    "/api/marks": {"station": "press", "identity": "x", "good": True, "who": "Ada"},
    "/api/thresholds": {
        "station": "press",
        "threshold": 2.0,
        "review_threshold": 1.0,
        "who": "Ada",
    },
}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "pyramidflow-0=x"},
    ],
    ids=["nothing", "wrong", "another kind", "a made up cookie"],
)
def test_nothing_changes_without_the_token(tmp_path, detector_file, path, headers):
    with served(configuration(tmp_path, detector_file)) as found:
        before = found.line.thresholds
        answer = found.client.post(path, json=CHANGES[path], headers=headers)
        assert answer.status_code == 401
        assert TOKEN not in answer.text
        assert found.line.thresholds == before
        assert found.client.get("/api/parts").json() == {"parts": []}


def test_without_a_token_all_can_be_read_and_nothing_changed(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file), token=None) as found:
        assert found.client.get("/").status_code == 200
        assert "Sign in" not in found.client.get("/").text
        for path, body in CHANGES.items():
            assert found.change(path, body).status_code == 403
        origin = {"Origin": found.url}
        assert found.change("/api/session", {"token": "x"}, **origin).status_code == 403


def test_another_interface_needs_a_token(tmp_path, detector_file):
    with (
        pytest.raises(InputError, match="has no token"),
        served(configuration(tmp_path, detector_file), token=None, host="0.0.0.0"),
    ):
        pass


def test_at_another_interface_reading_needs_the_token_too(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file), host="0.0.0.0") as found:
        client = found.client
        client.base_url = found.url.replace("0.0.0.0", "127.0.0.1")
        for path in ("/api/parts", "/api/status", "/api/now", "/metrics", "/api/events"):
            assert client.get(path).status_code == 401
        for path in ("/", "/history", "/thresholds", "/part?station=press&identity=x"):
            answer = client.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in?next=%2F")
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/metrics", headers=BEARER).status_code == 200


def test_a_session_reads_and_changes_from_the_services_own_page_only(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        own, other = {"Origin": found.url}, {"Origin": "http://evil.example"}
        token = {"token": TOKEN}
        assert found.change("/api/session", token, **other).status_code == 403
        assert found.client.post("/api/session", json=token).status_code == 403
        assert found.change("/api/session", {"token": "wrong"}, **own).status_code == 401
        answer = found.change("/api/session", token, **own)
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        moved = CHANGES["/api/thresholds"]
        for headers in (other, {"Origin": "null"}, {"Referer": found.url}):
            assert found.change("/api/thresholds", moved, **headers).status_code == 401
        assert found.change("/api/thresholds", moved, **own).status_code == 200
        assert found.line.thresholds["press"]["threshold"] == 2.0
        assert found.client.delete("/api/session", headers=own).status_code == 204
        assert found.change("/api/thresholds", moved, **own).status_code == 401


def test_a_wrong_token_is_tried_ten_times_a_minute(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        wrong = {"Authorization": "Bearer wrong"}
        for _ in range(10):
            assert found.client.get("/api/parts", headers=wrong).status_code == 401
        answer = found.client.get("/api/parts", headers=wrong)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        # Guesses that go on find out nothing, not even with the right one.
        assert found.client.post("/inspect", headers=BEARER).status_code == 429
        assert found.client.get("/api/parts").status_code == 200


@pytest.mark.parametrize("path", ["/", "/shifts", "/history", "/part?station=press", "/ready"])
def test_a_wrong_token_is_counted_wherever_it_is_told_from_the_right_one(
    tmp_path, detector_file, path, caplog
):
    with served(configuration(tmp_path, detector_file)) as found:
        client = found.client
        client.headers["X-Forwarded-For"] = "198.51.100.7"
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/api/parts", headers=BEARER).status_code == 200
        tries = [client.get(path, headers=wrong) for _ in range(11)]
        assert len({answer.status_code for answer in tries[:10]}) == 1
        assert client.get("/api/parts", headers=BEARER).status_code == 429
        # Not even the right one is told from the others now.
        last = client.get(path, headers=BEARER)
        assert (last.status_code, last.content) == (tries[10].status_code, tries[10].content)
    assert caplog.text.count("a wrong token came from 127.0.0.1 through a proxy") == 10


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "localhost.evil.example"])
def test_other_names_are_refused(shared, host):
    assert shared.client.get("/api/parts", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8720", "10.1.2.3"])
def test_own_names_and_addresses_are_taken(shared, host):
    assert shared.client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/files/style.css", "/files/live.js", "/api/parts", "/nothing", "/inspect", "/metrics"],
)
def test_every_answer_has_the_headers(shared, path):
    headers = shared.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/files/../html.py",
        "/files/..%2fhtml.py",
        "/files/%2e%2e/html.py",
        "/files//etc/passwd",
        "/files/__init__.py",
        "/files/style.css%00.js",
    ],
)
def test_files_are_those_of_the_folder_alone(shared, path):
    assert shared.client.get(path).status_code == 404


def test_where_to_go_after_signing_in_is_a_page_of_the_service(shared):
    for wanted in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"):
        text = shared.client.get("/sign-in", params={"next": wanted}).text
        assert 'data-next="/"' in text
    text = shared.client.get("/sign-in", params={"next": "/part?station=a&identity=b"}).text
    assert 'data-next="/part?station=a&amp;identity=b"' in text


def test_the_token_is_in_no_log(tmp_path, detector_file, caplog):
    caplog.set_level("DEBUG")
    with served(configuration(tmp_path, detector_file)) as found:
        found.inspect(picture())
        found.change("/api/session", {"token": TOKEN}, Origin=found.url)
        found.change("/api/session", {"token": "a wrong secret"}, Origin=found.url)
        found.change("/api/thresholds", CHANGES["/api/thresholds"])
    assert "Ada moved the thresholds" in caplog.text
    assert "a wrong token came from 127.0.0.1" in caplog.text
    assert TOKEN not in caplog.text
    assert "a wrong secret" not in caplog.text


def test_a_token_file_is_made_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "token"
    settings = ServiceSettings(token_file=path)
    made = token_of(settings)
    assert len(made) >= 32
    assert token_of(settings) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 or os.name == "nt"


def test_a_short_token_is_refused(tmp_path):
    (tmp_path / "token").write_text("12345\n")
    with pytest.raises(InputError, match="5 characters"):
        token_of(ServiceSettings(token_file=tmp_path / "token"))


def test_no_token_never_fits():
    access = Access(None, True, "cookie")
    assert not access.fits("")
    assert not access.fits("None")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example")),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected

"""OWASP's lists, tried against a running service.

Top 10 (2021, 2025) and API Security Top 10 (2023); docs/line/security.md says it point by point.
Injection into pages is tried in a browser, too (test_browser.py), and requests are made up from the
OpenAPI document (test_contract.py). Who may do what is in test_access.py, sizes in test_limits.py.
"""

import hmac
import io
import json
import os
import struct
import zlib

import pytest
from PIL import Image

from tests.line.records import record
from tests.service.raw import asked, exchange
from tests.service.served import BEARER, TOKEN, configuration, picture, served

from pyramidflow.line.history.store import Store, sqlite_url  # isort: skip
from pyramidflow.line.service_settings import ServiceSettings  # isort: skip
from pyramidflow.service import access  # isort: skip
from pyramidflow.service.access import Access, token_of  # isort: skip
from pyramidflow.service.limits import Rate, network_of  # isort: skip

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}${7*7}"
INJECTED = ("' OR '1'='1", "'; DROP TABLE parts; --", "%' UNION SELECT 1,2,3 --", '"\\', "\u2028")
HOSTILE_PATHS = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\line.sqlite",
    "a/../../line.sqlite",
    "\x00",
)


def png_header(width, height):
    """A PNG file that claims a size, and is cut off behind it."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + check


def bomb(side):
    """A small file of a picture that needs much memory."""
    data = io.BytesIO()
    Image.new("L", (side, side)).save(data, "PNG")
    return data.getvalue()


def add(folder, known):
    """Put a record into the history, as another program could."""
    store = Store.open(sqlite_url(folder / "line.sqlite"), create=True)
    store.add([known.as_dict()])
    store.close()


def resident():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) << 10


# A01 Broken access control, API1, API5


def test_a_token_in_the_address_is_none(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        for name in ("token", "access_token", "api_key"):
            query = {name: TOKEN}
            assert found.client.post("/inspect", params=query, content=picture()).status_code == 401


def test_no_other_site_reads_or_asks(shared):
    headers = {"Origin": "https://evil.example"}
    answer = shared.client.get("/api/parts", headers=headers)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    wanted = {"Access-Control-Request-Method": "POST", **headers}
    answer = shared.client.options("/api/marks", headers=wanted)
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)
    crossing = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    for path in ("/api/events", "/api/picture?station=press&identity=x", "/files/style.css"):
        assert shared.client.get(path, headers=crossing).status_code == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert shared.client.get("/history", headers=followed).status_code == 200


def test_a_page_of_another_site_changes_nothing_with_a_session(tmp_path, detector_file):
    said = {"station": "press", "identity": "a", "good": True, "who": "Eve"}
    with served(configuration(tmp_path, detector_file)) as found:
        found.inspect(picture(), identity="a")
        found.change("/api/session", {"token": TOKEN}, Origin=found.url)
        assert found.client.cookies
        # What a form of another site can send, with the cookie.
        plain = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
        answer = found.client.post("/api/marks", content=json.dumps(said), headers=plain)
        assert answer.status_code == 401
        place = {"station": "press", "identity": "a"}
        assert found.client.get("/api/part", params=place).json()["said"] == []


@pytest.mark.parametrize("place", HOSTILE_PATHS)
def test_a_picture_s_place_leads_nowhere_else(tmp_path, detector_file, place):
    with served(configuration(tmp_path, detector_file)) as found:
        Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
        kept = record(1, pictures={"image": place, "overlay": "../secret.png"})
        add(tmp_path, kept)
        for kind in ("plain", "heat"):
            query = {"station": "press", "identity": kept.identity, "kind": kind}
            assert found.client.get("/api/picture", params=query).status_code == 404


def test_an_identity_makes_no_path(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        for number, name in enumerate(HOSTILE_PATHS[:-1]):
            assert found.inspect(picture(number), identity=name).status_code == 200
    outside = [
        path
        for path in tmp_path.iterdir()
        if not path.name.lstrip(".").startswith(("line", "pict"))
    ]
    assert outside == []
    kept = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert kept
    for path in kept:  # a folder for the day and one for the station, and no way out of them
        assert len(path.relative_to(tmp_path / "pictures").parts) == 3
        assert path.resolve() == path


# A02/A04 Cryptographic failures: see test_tls.py


def test_the_token_is_compared_in_constant_time(monkeypatch):
    asked_for = []
    usual = hmac.compare_digest
    monkeypatch.setattr(
        "hmac.compare_digest", lambda a, b: asked_for.append((len(a), len(b))) or usual(a, b)
    )
    made = Access(TOKEN, True, "cookie")
    assert [made.fits(given) for given in (TOKEN, TOKEN[:-1], "", "ä\ud800")] == [
        True,
        False,
        False,
        False,
    ]
    assert asked_for == [(32, 32)] * 4  # digests: not even the length shows


# A03/A05 Injection


def test_text_from_outside_is_text_on_every_page(tmp_path, detector_file):
    hostile = record(
        1,
        identity=MARKUP,
        path=MARKUP,
        error=MARKUP,
        metadata={MARKUP: MARKUP},
        times={MARKUP: 1.0},
        detector=MARKUP,
    )
    with served(configuration(tmp_path, detector_file)) as found:
        add(tmp_path, hostile)
        said = {"station": "press", "identity": MARKUP, "good": True, "who": MARKUP[:60]}
        assert found.change("/api/marks", {**said, "note": MARKUP}).status_code == 201
        place = {"station": "press", "identity": MARKUP}
        pages = [
            found.client.get("/part", params=place),
            found.client.get("/history", params={"text": MARKUP, "since": MARKUP}),
            found.client.get("/history", params={"text": MARKUP}),
            found.client.get("/sign-in", params={"next": f"/{MARKUP}"}),
            found.client.get("/part", params={**place, "station": MARKUP}),
        ]
        for page in pages:
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script>alert" not in page.text
            assert "<img src=x" not in page.text
            assert "{{7*7}}" in page.text or "7*7" not in page.text
        assert "&lt;script&gt;alert(1)" in pages[0].text
        assert "&lt;script&gt;alert(1)" in pages[2].text
        answer = found.client.get("/api/part", params=place)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["said"][0]["note"] == MARKUP


@pytest.mark.parametrize("text", INJECTED)
def test_filters_are_values_and_no_statements(shared, text):
    shared.inspect(picture(7), identity=f"kept {INJECTED.index(text)}")
    for query in ({"text": text}, {"station": text}, {"text": text, "station": text}):
        answer = shared.client.get("/api/parts", params=query)
        assert (answer.status_code, answer.json()["parts"]) == (200, [])
        assert shared.client.get("/history", params=query).status_code == 200
    place = {"station": text, "identity": text}
    assert shared.client.get("/api/part", params=place).status_code == 404
    assert shared.client.get("/api/scores", params={"station": text}).status_code == 404
    for name in ("before", "most", "since", "found", "mark"):
        assert shared.client.get("/api/parts", params={name: text}).status_code == 422
    assert shared.client.get("/api/parts", params={"text": "kept"}).json()["parts"] != []


@pytest.mark.parametrize("text", ["a\r\nX-Injected: 1", "a\nSet-Cookie: x=1", "\r\n\r\n<b>"])
def test_no_header_is_added_from_outside(shared, text):
    for path in ("/history", "/sign-in", "/part", "/nothing"):
        answer = shared.client.get(path, params={"next": text, "identity": text, "station": text})
        assert "x-injected" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert shared.inspect(picture(), identity=text).status_code == 422


def test_no_line_of_the_log_is_forged(tmp_path, detector_file, caplog, monkeypatch):
    with served(configuration(tmp_path, detector_file)) as found:
        monkeypatch.setattr(
            "pyramidflow.service.packaged.FOLDER", None
        )  # so that a route fails whose address is free
        answer = found.client.get("/files/a%0a2026-01-01%20ERROR%20forged")
        assert answer.status_code == 500
        moved = {"station": "press", "threshold": 2, "review_threshold": 1, "who": "A\nERROR B"}
        assert found.change("/api/thresholds", moved).status_code == 200
    lines = [item.getMessage() for item in caplog.records if item.name.startswith("pyramidflow")]
    assert any("forged" in line for line in lines)
    assert [line for line in lines if "\n" in line] == []


# A05/A02 Security misconfiguration, API8


def test_a_failure_tells_the_log_and_nobody_else(tmp_path, detector_file, caplog, monkeypatch):
    with served(configuration(tmp_path, detector_file)) as found:
        monkeypatch.setattr("pyramidflow.service.packaged.FOLDER", None)
        answer = found.client.get("/files/style.css")
        assert (answer.status_code, answer.json()) == (
            500,
            {"detail": "the service failed: see its log."},
        )
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "AttributeError" in caplog.text


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "PATCH", "DELETE", "CONNECT", "X"])
def test_other_methods_are_refused_and_echo_nothing(shared, method):
    answer = exchange(shared.url, asked(method, "/", "X-Secret: echoed"))
    assert answer.split()[1] in (b"400", b"405")
    assert b"echoed" not in answer
    assert shared.client.request("PUT", "/inspect", content=b"x").status_code == 405


def test_no_websocket_is_opened(shared):
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    request = asked("GET", "/api/events", *upgrade).replace(b": close", b": Upgrade, close")
    answer = exchange(shared.url, request, seconds=1)
    assert b" 101 " not in answer.split(b"\r\n")[0]


def test_what_is_told_to_strangers_names_nothing(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file), host="0.0.0.0") as found:
        found.client.base_url = found.url.replace("0.0.0.0", "127.0.0.1")
        assert found.client.get("/ready").json() == {"ready": True}
        assert found.client.get("/openapi.json").status_code == 401
        told = found.client.get("/ready", headers=BEARER).json()
        assert told == {"ready": True, "preparing": [], "ended": [], "store_full": False}
        assert "openapi" in found.client.get("/openapi.json", headers=BEARER).json()


# A06/A08 Integrity: what comes in


def test_a_picture_that_unpacks_to_more_than_is_allowed_is_refused(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file, max_megapixels=1)
    large = bomb(6000)
    assert len(large) < 100_000
    with served(given) as found:
        found.inspect(picture())
        before = resident()
        for file in (large, png_header(2**31 - 1, 2**31 - 1), png_header(60_000, 60_000)):
            answer = found.inspect(file)
            assert answer.status_code == 422
            assert answer.json()["verdict"] is None
        assert resident() - before < 30e6
        assert found.inspect(picture()).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b"\xff\xfe",
        b'{"station": "press", "threshold": 1e999, "review_threshold": 0, "who": "A"}',
        b'{"station": "press", "threshold": NaN, "review_threshold": 0, "who": "A"}',
        b'{"station": "press", "threshold": 2, "review_threshold": 1, "who": "A", "admin": true}',
    ],
    ids=["deep lists", "deep objects", "no text", "infinite", "not a number", "a further key"],
)
def test_a_body_that_is_no_request_is_refused(shared, body):
    before = shared.line.thresholds
    headers = {**BEARER, "Content-Type": "application/json"}
    answer = shared.client.post("/api/thresholds", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert shared.line.thresholds == before


# A07 Authentication failures, API2, API4


def test_a_made_up_sender_escapes_no_limit(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        codes = []
        for number in range(12):
            forged = {"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.1.{number}"}
            wrong = {"Authorization": "Bearer wrong", **forged}
            codes.append(found.client.get("/api/parts", headers=wrong).status_code)
        assert codes == [401] * 10 + [429] * 2


def test_many_addresses_of_one_network_are_one_asker():
    rate = Rate(1, lambda: 0.0)
    assert rate.take("2001:db8:1:2::1") == 0.0
    assert rate.take("2001:db8:1:2:ffff::9") == 60.0
    assert rate.take("2001:db8:1:3::1") == 0.0
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("testclient") == "testclient"


def test_a_session_ends_with_its_time_and_its_signing_out(tmp_path, detector_file, monkeypatch):
    with served(configuration(tmp_path, detector_file), host="0.0.0.0") as found:
        url = found.url.replace("0.0.0.0", "127.0.0.1")
        found.client.base_url = url
        found.change("/api/session", {"token": TOKEN}, Origin=url)
        [cookie] = found.client.cookies.jar
        assert found.client.get("/api/parts").status_code == 200
        late = access.monotonic() + access.SESSION_SECONDS + 1
        with monkeypatch.context() as patch:
            patch.setattr(access, "monotonic", lambda: late)
            assert found.client.get("/api/parts").status_code == 401
        assert found.client.delete("/api/session", headers={"Origin": url}).status_code == 204
        stolen = {"Cookie": f"{cookie.name}={cookie.value}"}
        assert found.client.get("/api/parts", headers=stolen).status_code == 401


# A10 Server-side request forgery, API7, API10


def test_no_request_names_an_address_to_ask(shared):
    def kinds(value):
        if isinstance(value, dict):
            yield from (value.get("format", ""), *value.get("properties", {}))
            for inner in value.values():
                yield from kinds(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from kinds(inner)

    document = shared.client.get("/openapi.json").json()
    assert not {"uri", "url", "callback", "hostname"} & set(kinds(document))


def test_a_token_file_that_others_read_is_said(tmp_path, caplog):
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    token_of(ServiceSettings(token_file=file))
    assert "others" not in caplog.text
    file.chmod(0o644)
    token_of(ServiceSettings(token_file=file))
    assert "others on this machine can read" in caplog.text
    assert TOKEN not in caplog.text

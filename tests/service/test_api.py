"""History, marks, thresholds, events and metrics."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.line.records import eventually
from tests.service.served import BEARER, configuration, picture, served

HOSTILE = "<script>alert('x')</script>\"'&{{7*7}}%00"


def test_a_mark_is_kept_with_who_said_it(shared):
    shared.inspect(picture(1), identity="marked")
    part = {"station": "press", "identity": "marked"}
    for good in (False, True):
        said = {**part, "good": good, "who": "Ada", "note": "a shadow"}
        assert shared.change("/api/marks", said).status_code == 201
    found = shared.client.get("/api/part", params=part).json()
    assert found["marked_good"] is True
    assert [(x["good"], x["who"], x["note"]) for x in found["said"]] == [
        (True, "Ada", "a shadow"),
        (False, "Ada", "a shadow"),
    ]
    missing = {**part, "identity": "nobody", "good": True, "who": "Ada"}
    assert shared.change("/api/marks", missing).status_code == 404
    nobody = {**part, "good": True, "who": " "}
    assert shared.change("/api/marks", nobody).status_code in (404, 422)


def test_the_history_is_searched(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        for number in range(5):
            found.inspect(picture(number), identity=f"part {number}")
        found.inspect(b"garbage", identity="50% off")
        mark = {"station": "press", "identity": "part 1", "good": False, "who": "Ada"}
        found.change("/api/marks", mark)

        def names(**query):
            parts = found.client.get("/api/parts", params=query).json()["parts"]
            return [part["identity"] for part in parts]

        assert names(most=2) == ["50% off", "part 4"]
        last = found.client.get("/api/parts", params={"most": 2}).json()["parts"][-1]["number"]
        assert names(before=last) == ["part 3", "part 2", "part 1", "part 0"]
        assert names(found="error") == ["50% off"]
        assert names(found="ok", text="part") == [f"part {n}" for n in (4, 3, 2, 1, 0)]
        assert names(mark="bad") == ["part 1"]
        assert len(names(mark="none")) == 5
        assert names(text="%") == ["50% off"]  # a sign, no pattern
        assert names(station="drill") == []
        assert names(since="2100-01-01T00:00") == []
        assert len(names(until="2100-01-01T00:00:00Z")) == 6
        page = found.client.get("/history", params={"found": "error", "since": ""}).text
        assert "50% off" in page
        assert "part 1" not in page
        assert found.client.get("/history", params={"found": "<b>"}).status_code == 422


def test_thresholds_move_and_the_next_verdict_with_them(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        scores = [found.inspect(picture(n), identity=str(n)).json()["score"] for n in range(6)]
        low, high = sorted(scores)[2], sorted(scores)[4]
        query = {"station": "press", "threshold": high, "review_threshold": low}
        answer = found.client.get("/api/whatif", params=query).json()
        expected = {"ok": 3, "review": 2, "ng": 1}
        assert {key: answer["after"][key] for key in expected} == expected
        assert answer["before"]["ok"] == answer["parts"] == 6
        assert answer["changed"] == len(answer["named"]) == 3
        assert found.line.thresholds["press"]["threshold"] > high
        answer = found.change("/api/thresholds", {**query, "who": "Ada"})
        assert "Ada" in answer.json()["said"]
        found_again = [found.inspect(picture(n), identity=f"{n}b").json() for n in range(6)]
        verdicts = [part["verdict"] for part in found_again]
        assert sorted(verdicts) == ["ng", "ok", "ok", "ok", "review", "review"]
        histogram = found.client.get("/api/scores", params={"station": "press"}).json()
        assert (histogram["threshold"], histogram["review_threshold"]) == (high, low)
        assert sum(histogram["all"]) == 12
        turned = {**query, "threshold": low, "review_threshold": high}
        assert found.client.get("/api/whatif", params=turned).status_code == 400
        assert found.change("/api/thresholds", {**turned, "who": "Ada"}).status_code == 400
        missing = {**query, "station": "drill", "who": "Ada"}
        assert found.change("/api/thresholds", missing).status_code == 404


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", '"1e400"', "1e400", "null", "[]"])
def test_what_is_no_threshold_is_refused(shared, value):
    body = f'{{"station":"press","threshold":{value},"review_threshold":0,"who":"Ada"}}'
    headers = {**BEARER, "Content-Type": "application/json"}
    before = shared.line.thresholds
    answer = shared.client.post("/api/thresholds", content=body, headers=headers)
    assert answer.status_code == 422
    assert shared.line.thresholds == before


def test_names_from_outside_are_text_on_every_page(shared):
    assert shared.inspect(picture(1), identity=HOSTILE).status_code == 200
    part = {"station": "press", "identity": HOSTILE}
    mark = {**part, "good": False, "who": "<b>Ada</b>", "note": "<img src=x>"}
    assert shared.change("/api/marks", mark).status_code == 201
    for path in ("/history", "/part"):
        answer = shared.client.get(path, params=part)
        assert answer.status_code == 200
        text = answer.text
        assert "&lt;script&gt;" in text
        assert "{{7*7}}" in text
        for raw in ("<script>alert", "<b>Ada", "<img src=x"):
            assert raw not in text
    for hostile in ("' OR 1=1 --", "x'; DROP TABLE parts; --", '"', "%", "../../etc/passwd"):
        query = {"station": "press", "identity": hostile}
        assert shared.client.get("/api/part", params=query).status_code == 404
        assert shared.client.get("/api/picture", params=query).status_code == 404
        text = {"text": hostile, "station": hostile}
        assert shared.client.get("/api/parts", params=text).json() == {"parts": []}
    assert shared.client.get("/api/parts").json()["parts"]


def test_pictures_come_from_memory_and_then_from_the_sinks_folder(tmp_path, detector_file):
    given = configuration(tmp_path, detector_file)
    part = {"station": "press", "identity": "7"}
    with served(given) as found:
        found.inspect(picture(), identity="7")
        for kind in ("heat", "plain"):
            answer = found.client.get("/api/picture", params={**part, "kind": kind})
            assert answer.headers["content-type"] == "image/jpeg"
    with served(given) as found:
        for kind in ("heat", "plain"):
            answer = found.client.get("/api/picture", params={**part, "kind": kind})
            assert answer.headers["content-type"] == "image/png"
        assert answer.content == picture()
        place = found.client.get("/api/part", params=part).json()["image"]
        (tmp_path / "secret.png").write_bytes(picture(9))
        kept = tmp_path / "pictures" / place
        kept.unlink()
        kept.symlink_to(tmp_path / "secret.png")
        answer = found.client.get("/api/picture", params={**part, "kind": "plain"})
        assert answer.status_code == 404


def test_events_come_as_they_happen(shared):
    after = shared.client.get("/api/now").json()["event"]
    query = {"after": after}
    with shared.client.stream("GET", "/api/events", params=query) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        shared.inspect(picture(), identity="as it happens")
        kind = ""
        for line in stream.iter_lines():
            kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
            if line.startswith("data: ") and kind == "part":
                assert json.loads(line[6:])["identity"] == "as it happens"
                break


def metrics_of(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, sample.labels.get("outcome")): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_those_of_the_line(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        for number in range(3):
            found.inspect(picture(number), identity=str(number))
        found.inspect(picture(0), identity="0")
        found.inspect(b"garbage")
        # The line is asked once a second at most.
        assert eventually(
            lambda: metrics_of(found.client)["pyramidflow_parts_total", "errors"] == 1
        )
        samples = metrics_of(found.client)
    assert samples["pyramidflow_part_seconds_count", None] == 3
    assert samples["pyramidflow_already_recorded_parts_total", None] == 1
    outcomes = {key: value for (name, key), value in samples.items() if key is not None}
    assert outcomes == {"ok": 3, "review": 0, "ng": 0, "errors": 1, "dropped": 0}


def test_ready_and_alive(shared):
    assert shared.client.get("/health").json() == {"status": "ok"}
    ready = shared.client.get("/ready")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)

"""The service while a station's detector is not ready yet."""

import json

import pytest

from tests.line.preparing import held_preparations
from tests.line.records import eventually
from tests.service.served import BEARER, beginning, configuration, picture

MOVED = {"station": "press", "threshold": 2.0, "review_threshold": 1.0, "who": "Ada"}


@pytest.fixture
def given(tmp_path, detector_file):
    first = configuration(tmp_path, detector_file)
    folder = {"kind": "folder", "path": tmp_path / "in"}
    first["stations"].append({**first["stations"][0], "name": "drill", "source": folder})
    return first


def metric(found, name, station):
    lines = found.client.get("/metrics").text.splitlines()
    [value] = [x.split()[-1] for x in lines if x.startswith(f'{name}{{station="{station}"')]
    return float(value)


def test_it_answers_at_once_and_says_which_stations_prepare(given):
    with held_preparations(first=1) as go, beginning(given) as found:
        assert found.client.get("/health").json() == {"status": "ok"}
        assert "<h1>Live</h1>" in found.client.get("/").text
        assert eventually(lambda: found.line.preparing == ["drill"], 60)
        ready = found.client.get("/ready")
        assert ready.status_code == 503
        assert ready.json() == {
            "ready": False,
            "preparing": ["drill"],
            "ended": [],
            "store_full": False,
        }
        assert found.inspect(picture()).json()["verdict"] == "ok"
        assert eventually(lambda: metric(found, "pyramidflow_station_running", "press") == 1)
        assert metric(found, "pyramidflow_station_preparing", "press") == 0
        assert metric(found, "pyramidflow_station_preparing", "drill") == 1
        assert metric(found, "pyramidflow_station_running", "drill") == 0
        go.set()
        assert found.line.wait_until_ready(60)
        assert found.client.get("/ready").json()["preparing"] == []
        assert found.client.get("/ready").status_code == 200
        assert eventually(lambda: metric(found, "pyramidflow_station_running", "drill") == 1)
        assert metric(found, "pyramidflow_station_preparing", "drill") == 0


def test_what_needs_the_detector_is_refused_with_a_time_to_ask_again(given):
    with held_preparations() as go, beginning(given) as found:
        for answer in (
            found.inspect(picture(), identity="1"),
            found.change("/api/thresholds", MOVED),
        ):
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert answer.json()["detail"] == (
                "press is preparing: its detector is made ready to inspect; ask again later."
            )
        scores = found.client.get("/api/scores", params={"station": "press"}).json()
        assert (scores["threshold"], scores["parts"]) == (None, 0)
        assert found.client.get("/api/status").json()["stations"]["press"]["preparing"]
        go.set()
        assert found.line.wait_until_ready(60)
        assert found.inspect(picture(), identity="1").json()["verdict"] == "ok"
        assert found.change("/api/thresholds", MOVED).status_code == 200


def test_strangers_learn_no_names(given):
    with held_preparations(), beginning(given, host="0.0.0.0") as found:
        found.client.base_url = found.url.replace("0.0.0.0", "127.0.0.1")
        ready = found.client.get("/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        assert found.client.get("/ready", headers=BEARER).json()["preparing"] == ["press", "drill"]


def test_events_tell_when_a_station_is_ready(given):
    with held_preparations() as go, beginning(given) as found:
        seen = []
        with found.client.stream("GET", "/api/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: ") and "stations" in line:
                    stations = json.loads(line.removeprefix("data: "))["stations"]
                    seen.append(stations["press"]["preparing"])
                    go.set()
                if seen and not seen[-1]:
                    break
    assert seen[0] is True

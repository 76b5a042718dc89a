"""The service behind a proxy: what comes through it may come from anywhere."""

import pytest
from pydantic import ValidationError

from tests.service.served import BEARER, TOKEN, configuration, picture, served

from pyramidflow.line.service_settings import ServiceSettings  # isort: skip


def test_behind_a_proxy_reading_needs_the_token_too(tmp_path, detector_file):
    with served(configuration(tmp_path, detector_file)) as found:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            assert found.client.get("/api/parts", headers={name: "x"}).status_code == 401
        assert found.client.get("/api/parts", headers={"Via": "x", **BEARER}).status_code == 200


def test_a_session_begins_at_the_proxy_s_origin(tmp_path, detector_file):
    origin = "https://line.example"
    with served(configuration(tmp_path, detector_file), origin=origin) as found:
        through = {"Host": "line.example", "Origin": origin}
        assert found.client.get("/api/parts", headers={"Host": "line.example"}).status_code == 401
        answer = found.change("/api/session", {"token": TOKEN}, **through)
        assert answer.status_code == 204
        assert "secure" in answer.headers["set-cookie"].lower()
        other = {"Host": "line.example", "Origin": "https://evil.example"}
        assert found.change("/api/session", {"token": TOKEN}, **other).status_code == 403


@pytest.mark.parametrize("through", [{"X-Forwarded-For": "198.51.100.7"}, {"Host": "line.example"}])
def test_wrong_tokens_through_a_proxy_stop_nobody_on_this_machine(tmp_path, detector_file, through):
    given = configuration(tmp_path, detector_file)
    with served(given, origin="https://line.example") as found:
        wrong = {"Authorization": "Bearer wrong", **through}
        codes = [found.client.get("/api/parts", headers=wrong).status_code for _ in range(11)]
        assert codes == [401] * 10 + [429]
        assert found.client.get("/api/parts", headers={**BEARER, **through}).status_code == 429
        assert found.inspect(picture()).status_code == 200


def test_many_pictures_through_a_proxy_leave_room_for_those_of_this_machine(
    tmp_path, detector_file
):
    given = configuration(tmp_path, detector_file)
    with served(given, origin="https://line.example", inspections_per_minute=3) as found:
        through = {"Via": "1.1 proxy"}
        codes = [found.client.post("/inspect", headers=through).status_code for _ in range(4)]
        assert codes == [401] * 3 + [429]
        assert found.inspect(picture()).status_code == 200


@pytest.mark.parametrize(
    "origin", ["line.example", "https://", "https://a/b", "ftp://a", "https://a:x", "https://a/"]
)
def test_an_origin_that_is_none_is_refused(origin):
    with pytest.raises(ValidationError, match="origin that is none"):
        ServiceSettings(origin=origin)

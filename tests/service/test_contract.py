"""Requests made up from the OpenAPI document: none brings an error of the service."""

import pytest

from tests.service.served import BEARER, configuration, served

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis, of the extra test")
hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis, of the extra test")

ENDLESS = "/api/events"
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
]


@pytest.fixture
def lenient(detector_file, tmp_path):
    with served(configuration(tmp_path, detector_file), requests_per_minute=1_000_000) as found:
        yield found


@pytest.mark.parametrize("headers", [{}, BEARER], ids=["without the token", "with the token"])
def test_no_request_brings_an_error_of_the_service(lenient, headers):
    document = lenient.client.get("/openapi.json").json()
    # No made up name would be that of the station.
    document["components"]["schemas"]["Moved"]["properties"]["station"]["enum"] = ["press"]
    for path in ("/api/scores", "/api/whatif"):
        [station, *_] = document["paths"][path]["get"]["parameters"]
        station["schema"]["enum"] = ["press"]
    schema = schemathesis.openapi.from_dict(document)
    tried, taken = 0, set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == ENDLESS:
            continue

        @hypothesis.settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def requests(case):
            answer = case.call(base_url=lenient.url, headers=headers)
            assert answer.status_code < 500, f"{case.method} {case.path}: {answer.text}"
            if answer.status_code < 300:
                taken.add((case.method, case.path))
            case.validate_response(answer, checks=CHECKS)

        requests()
        tried += 1
    assert tried >= 14
    assert ("GET", "/api/parts") in taken
    # Nothing is changed without the token; with it, what can be made up is.
    assert (("POST", "/api/thresholds") in taken) == (headers == BEARER)

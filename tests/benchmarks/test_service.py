"""The benchmark of the HTTP interface, in small."""

import json

import pytest

from benchmarks.service import first_page, load, throughput

for library in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(library, reason=f"needs {library}, of the extra service")


def test_the_throughput_of_the_service_is_written(tmp_path):
    output = tmp_path / "service.md"
    throughput.main(["--small", "--rounds", "1", "--threads", "1", "--output", str(output)])
    assert "| 32×32, PNG |" in output.read_text()
    [case] = json.loads(output.with_suffix(".json").read_text())["cases"].values()
    assert case["statuses"] == [{"200": 40}] * 2
    assert case["share"] == pytest.approx(
        case["session_ms"] / case["service_ms"], rel=1e-9
    )  # of one round
    assert case["full"]["p50"] <= case["full"]["p95"] <= case["full"]["p99"]


def test_percentiles():
    values = [float(number) for number in range(100)]
    assert [load.percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert load.percentile([3.0], 0.99) == 3.0


def test_the_time_to_the_first_page_is_written(tmp_path):
    output = tmp_path / "first.md"
    first_page.main(["--small", "--rounds", "1", "--threads", "1", "--output", str(output)])
    assert "| 32×32 |" in output.read_text()

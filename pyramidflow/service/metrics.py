"""The line for Prometheus."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from pyramidflow.line.record import Record

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OUTCOMES: Final = ("ok", "review", "ng", "errors", "dropped")
_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters, gauges and durations of a line.

    Args:
        status: of the line, see :meth:`pyramidflow.line.Line.status`.
        version: of this program.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]], version: str) -> None:
        self._status = status
        self._version = version
        self._registry = CollectorRegistry()
        self._durations = Histogram(
            "pyramidflow_part_seconds",
            "From a picture's arrival to its record.",
            ["station"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(self)

    def add(self, record: Record) -> None:
        """Count a part's duration."""
        if record.verdict is not None:
            seconds = record.times.get("total", 0.0) / 1e3
            self._durations.labels(record.station).observe(seconds)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: the collector is not asked before the line runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What the line says of itself now."""
        status = self._status()
        yield from _of_stations(status["stations"])
        yield from _of_sinks(status["outbox"])
        yield InfoMetricFamily("pyramidflow", "This program.", value={"version": self._version})


def _of_stations(stations: Mapping[str, Any]) -> Iterator[Metric]:
    parts = CounterMetricFamily(
        "pyramidflow_parts", "Parts since the start, by outcome.", labels=["station", "outcome"]
    )
    late = CounterMetricFamily(
        "pyramidflow_late_parts", "Parts after their deadline.", labels=["station"]
    )
    again = CounterMetricFamily(
        "pyramidflow_already_recorded_parts",
        "Pictures that were passed over, as their identity had a record.",
        labels=["station"],
    )
    preparing = GaugeMetricFamily(
        "pyramidflow_station_preparing",
        "1 while a station's detector is made ready.",
        labels=["station"],
    )
    running = GaugeMetricFamily(
        "pyramidflow_station_running", "1 while a station takes parts.", labels=["station"]
    )
    waiting = GaugeMetricFamily(
        "pyramidflow_waiting_parts", "Parts that wait.", labels=["station", "before"]
    )
    thresholds = GaugeMetricFamily(
        "pyramidflow_threshold", "What verdicts are given by.", labels=["station", "kind"]
    )
    detectors = InfoMetricFamily("pyramidflow_detector", "What inspects.", labels=["station"])
    for name, state in stations.items():
        for outcome in _OUTCOMES:
            parts.add_metric([name, outcome], state[outcome])
        late.add_metric([name], state["late"])
        again.add_metric([name], state["already_recorded"])
        preparing.add_metric([name], float(state["preparing"]))
        running.add_metric([name], float(state["running"]))
        for stage, count in state["waiting"].items():
            waiting.add_metric([name, stage], count)
        for kind in ("threshold", "review_threshold", "pixel_threshold"):
            if state[kind] is not None:
                thresholds.add_metric([name, kind], state[kind])
        detectors.add_metric([name], {"sha256": state["detector"]})
    yield from (parts, late, again, preparing, running, waiting, thresholds, detectors)


def _of_sinks(outbox: Mapping[str, Any]) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "pyramidflow_waiting_records", "Records that wait for a sink.", labels=["sink"]
    )
    refused = GaugeMetricFamily(
        "pyramidflow_refused_records", "Records that a sink refused.", labels=["sink"]
    )
    for name, state in outbox.get("sinks", {}).items():
        waiting.add_metric([name], state["waiting"])
        refused.add_metric([name], state["refused"])
    yield waiting
    yield refused
    full = GaugeMetricFamily("pyramidflow_store_full", "1 while no record can be kept.")
    full.add_metric([], float(outbox.get("is_full", False)))
    yield full
    size = GaugeMetricFamily("pyramidflow_waiting_picture_bytes", "Bytes of waiting pictures.")
    size.add_metric([], outbox.get("picture_bytes", 0))
    yield size

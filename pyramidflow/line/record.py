"""The record of one part: what was found, when, with what, and how long it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pyramidflow.detector import Verdict
from pyramidflow.line.frame import Frame


@dataclass(frozen=True)
class Record:
    """What is known of one part once it was looked at.

    Attributes:
        path: where its picture comes from: a file, a camera, a program.
        findings: what :meth:`pyramidflow.detector.Inspection.as_dict` says: score, thresholds,
            verdict, regions, pose; empty where there was no inspection.
        pictures: kind and place of each picture that is kept: ``overlay``, ``map``, ``image``.
        error: why there is no inspection, or no picture, in one sentence.
        identity: of the part's picture, unique in its station.
        station: that it belongs to.
        time: when the picture was taken, in UTC.
        detector: SHA-256 of the detector's file.
        times: milliseconds of each stage, and ``total`` from the picture's arrival on.
        queues: how many frames waited before each stage when the part came out of it.
        late: whether the total was above the station's deadline.
        dropped: whether the part was let go unseen, because newer ones came faster than they could
            be inspected.
        metadata: what the source knew.
    """

    path: str
    findings: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    identity: str = ""
    station: str = ""
    time: datetime | None = None
    detector: str = ""
    times: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    late: bool = False
    dropped: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame, findings: Mapping[str, Any], **known: Any) -> "Record":
        """The record of a frame.

        Args:
            frame: the frame.
            findings: what was found in it; empty where it could not be inspected.
            known: any other attribute.
        """
        return cls(
            path=frame.origin,
            findings=findings,
            identity=frame.identity,
            station=frame.station,
            time=frame.time,
            metadata=frame.metadata,
            **known,
        )

    @property
    def verdict(self) -> Verdict | None:
        """``"ok"``, ``"review"`` or ``"ng"``; ``None`` where there was no inspection."""
        return self.findings.get("verdict")

    @property
    def score(self) -> float | None:
        """Maximum of the anomaly map; ``None`` where there was no inspection."""
        return self.findings.get("score")

    def changed(self, **parts: Any) -> "Record":
        """The record with other attributes."""
        return replace(self, **parts)

    def inspection_fields(self) -> dict[str, Any]:
        """What a line of ``inspect``'s ``results.jsonl`` holds, as a JSON object."""
        error = {} if self.error is None else {"error": self.error}
        return {"path": self.path, **self.findings, **self.pictures, **error}

    def as_dict(self) -> dict[str, Any]:
        """Everything, as a JSON object: what sinks write and the store keeps.

        Times are ISO 8601 in UTC, durations milliseconds with microseconds.
        """
        return {
            "identity": self.identity,
            "station": self.station,
            "time": None if self.time is None else self.time.isoformat(timespec="microseconds"),
            **self.inspection_fields(),
            "verdict": self.verdict,
            "score": self.score,
            "detector": self.detector,
            "times": {stage: round(duration, 3) for stage, duration in self.times.items()},
            "queues": dict(self.queues),
            "late": self.late,
            "dropped": self.dropped,
            "metadata": dict(self.metadata),
        }

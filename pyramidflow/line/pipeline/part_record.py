"""The record of a part that came through the stages, and the pictures that sinks want of it."""

from collections.abc import Sequence
from time import monotonic

from pyramidflow.io.names import printable
from pyramidflow.line.pipeline.drawing import KINDS
from pyramidflow.line.pipeline.part import Part
from pyramidflow.line.record import Record
from pyramidflow.line.sinks.sink import Sink


def record_of(part: Part, deadline_ms: float | None = None) -> Record:
    """What is known of a part by now.

    Args:
        part: at any stage.
        deadline_ms: from its arrival to its verdict, in milliseconds; ``None`` for none.
    """
    total = 1e3 * (monotonic() - part.frame.arrived)
    error = part.problem or part.drawn.error
    return Record.of(
        part.frame,
        part.findings,
        pictures={kind: part.places[kind] for kind in part.drawn.pictures},
        error=None if error is None else printable(error),
        detector=part.detector,
        times={**part.times, "total": total},
        queues=part.queues,
        late=deadline_ms is not None and total > deadline_ms,
        dropped=part.is_dropped,
    )


def wanted_kinds(part: Part, sinks: Sequence[Sink]) -> list[str]:
    """The pictures that sinks want of a part; their places are noted in it.

    Args:
        part: inspected.
        sinks: that get its record.
    """
    record = record_of(part)
    for sink in sinks:
        for kind, place in sink.pictures(record).items():
            part.places.setdefault(kind, place)
    return [kind for kind in KINDS if kind in part.places]

"""A bulk inspection: pictures without a record go to an engine, and what comes back is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyramidflow.bulk.archive import Archive
from pyramidflow.bulk.listing import Picture
from pyramidflow.bulk.work import Away, Engine, Outcome
from pyramidflow.errors import InputError
from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.record import Record
from pyramidflow.line.results.inspection import Tally

MOST_AWAY: Final = 200
"""Pictures in a row that could not be fetched, before the store is taken to be away."""

_SOON: Final = 5.0
"""Seconds without a delivery that a stop waits for sinks."""


@dataclass
class BulkTally:
    """What came of a run and of those before it.

    Attributes:
        counts: of all records in the folder, and the times of this run's pictures.
        away: pictures that could not be fetched; they have no record.
        lacking: a sentence for each sink that has not got every record.
    """

    counts: Tally = field(default_factory=Tally)
    away: int = 0
    lacking: list[str] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Count a record."""
        if record.verdict is not None:
            self.counts.count(record.verdict)
        self.counts.errors += record.error is not None
        for stage, milliseconds in record.times.items():
            self.counts.add_time(stage, milliseconds)


def inspect_archive(
    pictures: Sequence[Picture],
    engine: Engine,
    archive: Archive,
    on_outcome: Callable[[Record | Away], object] = lambda outcome: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> BulkTally:
    """Inspect those pictures that have no record yet, and keep what is found.

    Args:
        pictures: of the archive.
        engine: what inspects.
        archive: where records are kept; those of earlier runs are counted.
        on_outcome: called with each record once it is safe, and with each picture that could not
            be fetched.
        stop_requested: asked again and again; what is in hand is kept then.

    Raises:
        InputError: the engine is lost, records cannot be kept, or a store is away; the same call
            goes on from there.
    """
    done = archive.earlier
    ok, ng, review = (done.verdicts.get(verdict, 0) for verdict in ("ok", "ng", "review"))
    tally = BulkTally(Tally(ok, ng, review, done.errors))
    away_in_a_row = 0
    for some in engine.outcomes(archive.new(pictures), stop_requested):
        _keep(some, archive, tally, on_outcome)
        away = [outcome for outcome in some if isinstance(outcome, Away)]
        tally.away += len(away)
        away_in_a_row = away_in_a_row + len(away) if len(away) == len(some) else 0
        for outcome in away:
            on_outcome(outcome)
        if away_in_a_row >= MOST_AWAY:
            raise InputError(away[-1].reason)
    tally.counts.stopped = stop_requested()
    tally.lacking = archive.delivered(_SOON if tally.counts.stopped else None)
    return tally


def _keep(
    some: Sequence[Outcome],
    archive: Archive,
    tally: BulkTally,
    on_outcome: Callable[[Record | Away], object],
) -> None:
    outgoing = [outcome for outcome in some if isinstance(outcome, Outgoing)]
    if not outgoing:
        return
    archive.put(outgoing)
    for each in outgoing:
        tally.add(each.record)
        on_outcome(each.record)

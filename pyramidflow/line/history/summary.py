"""What a history tells: counts by hour, day or shift, and how the scores of good parts go."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

from pyramidflow.errors import InputError
from pyramidflow.line.counts import Counts
from pyramidflow.line.history.drift import REFERENCE, Drift, drift
from pyramidflow.line.history.periods import Period, Periods
from pyramidflow.line.history.store import Judged

_DURATIONS: Final = {"h": 1, "d": 24, "w": 168}


@dataclass
class Marked(Counts):
    """Parts by what the line and people said of them.

    Attributes:
        good_rejected: parts that a person called good and the line ng: false rejects.
        good_reviews: parts that a person called good and the line for review.
        marked_good: parts that a person called good, with a verdict.
        bad_passed: parts that a person called bad and the line ok.
        marked_bad: parts that a person called bad, with a verdict.
    """

    good_rejected: int = 0
    good_reviews: int = 0
    marked_good: int = 0
    bad_passed: int = 0
    marked_bad: int = 0

    def add_judged(self, part: Judged) -> None:
        """Count a part, and what a person said of it."""
        self.add(part)
        if part.verdict is not None and part.good is not None:
            self.marked_good += part.good
            self.good_rejected += part.good and part.verdict == "ng"
            self.good_reviews += part.good and part.verdict == "review"
            self.marked_bad += not part.good
            self.bad_passed += not part.good and part.verdict == "ok"


@dataclass
class Drifting:
    """The scores of a station's good parts, by the detector that works there now.

    Attributes:
        detector: digest of its file.
        scores: of good parts, in order.
        times: when they were taken.
    """

    detector: str
    scores: list[float] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)

    def state(self, reference: int = REFERENCE) -> Drift | None:
        """The state of the chart; ``None`` with too few parts."""
        return drift(self.scores, reference)

    def since(self, found: Drift, reference: int = REFERENCE) -> datetime | None:
        """When an alarm began."""
        return None if found.since is None else self.times[reference + found.since]


@dataclass
class History:
    """A history, looked through once.

    Attributes:
        total: counts over all parts.
        periods: counts by the start of each hour, day or shift, in order.
        drifting: scores of good parts, by station.
    """

    total: Marked = field(default_factory=Marked)
    periods: dict[datetime, Marked] = field(default_factory=dict)
    drifting: dict[str, Drifting] = field(default_factory=dict)


def summarized(
    parts: Iterable[Judged], by: Period, zone: tzinfo | None, shifts: Sequence[time]
) -> History:
    """Count parts, and gather the scores of good ones.

    Good are parts with the verdict ``ok`` that no person called bad, and those that a person called
    good. A station's scores start anew where its detector changes.

    Args:
        parts: in the order of their rows.
        by: length of the periods.
        zone: whose clock starts hours, days and shifts; ``None`` is this machine's.
        shifts: when shifts start, in order.
    """
    history = History()
    periods = Periods(by, zone, shifts)
    for part in parts:
        history.total.add_judged(part)
        start = periods.of(part.time).start
        history.periods.setdefault(start, Marked()).add_judged(part)
        drifting = history.drifting.get(part.station)
        if part.score is None:
            continue
        if drifting is None or drifting.detector != part.detector:
            drifting = history.drifting[part.station] = Drifting(part.detector)
        if part.good or (part.verdict == "ok" and part.good is None):
            drifting.scores.append(part.score)
            drifting.times.append(part.time)
    history.periods = dict(sorted(history.periods.items()))
    return history


def moment_of(text: str, zone: tzinfo | None, reference: datetime) -> datetime:
    """A moment that a person wrote: a date, a date and time, or how long ago.

    Args:
        text: ``2026-03-01``, ``2026-03-01T06:00``, or ``12h``, ``7d``, ``4w`` ago.
        zone: whose clock is meant where the text says none; ``None`` is this machine's.
        reference: that durations count back from.

    Raises:
        InputError: it is none of them.
    """
    try:
        if text[-1:] in _DURATIONS:
            return reference - timedelta(hours=_DURATIONS[text[-1]] * float(text[:-1]))
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"the time is {text!r}: give a date, as 2026-03-01 or 2026-03-01T06:00, or how long "
            "ago, as 12h, 7d or 4w."
        ) from error
    return found.replace(tzinfo=zone).astimezone() if found.tzinfo is None else found

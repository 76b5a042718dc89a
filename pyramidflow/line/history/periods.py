"""Hours, days and shifts by the clock on a wall, also where it is put forward or back."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Final, Literal, NamedTuple

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

Period = Literal["hour", "day", "shift"]

USUAL_SHIFTS: Final = ("06:00", "14:00", "22:00")

_HOUR: Final = timedelta(hours=1)


class Span(NamedTuple):
    """From one moment to before another one, by a wall's clock.

    Attributes:
        start: with the clock's offset then.
        end: likewise.
    """

    start: datetime
    end: datetime


class Periods:
    """The hours, days or shifts that moments lie in.

    A period ends where the next one starts: a shift from 22:00 to 06:00 has nine hours in the night
    in which the clock is put back, and seven in the other one. An hour that comes twice is two.

    Args:
        by: length of the periods.
        zone: whose clock starts them; ``None`` is this machine's.
        shifts: when shifts start, in order; days and hours need none.
    """

    def __init__(self, by: Period, zone: tzinfo | None, shifts: Sequence[time] = ()) -> None:
        self._by = by
        self._zone = zone
        self._starts = tuple(shifts) if by == "shift" else (time(),)
        self._last: Span | None = None

    def of(self, moment: datetime) -> Span:
        """The period of a moment.

        Args:
            moment: with an offset.
        """
        last = self._last
        if last is None or not last.start <= moment < last.end:
            last = self._last = self._found(moment)
        return last

    def until(self, moment: datetime) -> Iterator[Span]:
        """The period of a moment, and those before it, the newest first; without an end.

        Args:
            moment: with an offset.
        """
        while True:
            span = self.of(moment)
            yield span
            moment = span.start - timedelta(microseconds=1)

    def _found(self, moment: datetime) -> Span:
        local = self._on_the_wall(moment)
        if self._by == "hour":
            start = local - timedelta(
                minutes=local.minute, seconds=local.second, microseconds=local.microsecond
            )
            return Span(start, self._on_the_wall(start + _HOUR))
        days = [local.date() + timedelta(days=number) for number in (-1, 0, 1)]
        starts = sorted({self._at(day, start) for day in days for start in self._starts})
        begun = [start for start in starts if start <= moment]
        return Span(begun[-1], starts[len(begun)])

    def _at(self, day: date, clock: time) -> datetime:
        """A time of a day; one that the clock leaps over is as much later."""
        wall = datetime.combine(day, clock)
        moment = wall.astimezone() if self._zone is None else wall.replace(tzinfo=self._zone)
        return self._on_the_wall(moment.astimezone(timezone.utc))

    def _on_the_wall(self, moment: datetime) -> datetime:
        """A moment with the offset of the zone then, and no other rule: such compare by instant."""
        local = moment.astimezone(self._zone)
        offset = local.utcoffset()
        assert offset is not None
        return local.replace(tzinfo=timezone(offset), fold=0)


def parsed_shifts(text: str) -> list[time]:
    """Starts of shifts, written ``06:00,14:00,22:00``.

    Raises:
        InputError: there are none, or they are not in order.
    """
    try:
        found = [datetime.strptime(word.strip(), "%H:%M").time() for word in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"the shifts are {text!r}: give times such as {','.join(USUAL_SHIFTS)}."
        ) from error
    if found != sorted(set(found)):
        raise InputError(f"the shifts are {text!r}: give different times, the earliest first.")
    return found


def zone_of(name: str | None) -> tzinfo | None:
    """A time zone by its name; ``None`` for this machine's.

    Raises:
        InputError: there is none of that name.
    """
    if name is None:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"the time zone is {printable(name)}: give a name such as Europe/Berlin."
        ) from error

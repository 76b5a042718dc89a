"""The line's stages over the pictures of an archive, in one process."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pyramidflow.bulk.listing import Picture
from pyramidflow.bulk.objects import ObjectAway, read_object
from pyramidflow.bulk.work import Away, Conditions, Outcome, Work
from pyramidflow.errors import InputError
from pyramidflow.line.frame import Frame
from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.pipeline.inspector import open_inspector
from pyramidflow.line.pipeline.part_record import record_of, wanted_kinds
from pyramidflow.line.pipeline.pipeline import Flow, Pipeline
from pyramidflow.line.results.inspection import flow_of
from pyramidflow.line.sinks.pictures import PicturesSink

FETCHED_AHEAD: Final = 8
"""Objects of a store that are fetched at once, and wait."""

MOST_AWAY: Final = 3 * FETCHED_AHEAD
"""Objects in a row that cannot be fetched, before the store itself is taken to be away."""


class Inspecting:
    """A session with the line's stages around it: pictures in, records and drawn pictures out.

    Args:
        work: what to inspect with.
        flow: how parts go through the stages; ``None`` as in ``inspect``.

    Raises:
        InputError: the detector cannot be used, or a setting cannot be honoured.
    """

    def __init__(self, work: Work, flow: Flow | None = None) -> None:
        self._work = work
        self._inspector = open_inspector(work.model, work.thresholds, work.device, **work.settings)
        self._flow = flow or flow_of(self._inspector.session)
        self._sinks = [] if work.pictures is None else [PicturesSink(work.pictures)]

    @property
    def conditions(self) -> Conditions:
        """What the verdicts follow from."""
        session = self._inspector.session
        assert session.threshold is not None  # open_inspector refuses a detector without one
        return Conditions(
            self._inspector.digest,
            session.threshold,
            session.review_threshold,
            session.pixel_threshold,
            session.device.type,
            session.conditions.precision,
            session.review_threshold is not None or session.spec.alignment.align != "none",
        )

    def outcomes(
        self, pictures: Iterable[Picture], stop_requested: Callable[[], bool] = lambda: False
    ) -> Iterator[Sequence[Outcome]]:
        """What comes of pictures, in their order, but for those that cannot be fetched now.

        Args:
            pictures: taken as they are needed.
            stop_requested: see :meth:`pyramidflow.line.pipeline.pipeline.Pipeline.run`.
        """
        away: deque[Away] = deque()
        pipeline = Pipeline(
            lambda: self._inspector, lambda part: wanted_kinds(part, self._sinks), self._flow
        )
        frames = frames_of(pictures, self._work.station, away.append)
        for parts in pipeline.run(frames, stop_requested):
            yield [Outgoing(record_of(part), part.drawn.pictures) for part in parts]
        if away:
            yield list(away)


def frames_of(
    pictures: Iterable[Picture], station: str, on_away: Callable[[Away], object]
) -> Iterator[Frame]:
    """Frames of pictures, in their order; objects are fetched some ahead.

    Args:
        pictures: to inspect.
        station: of the frames.
        on_away: called with a picture that cannot be fetched now; it becomes no frame.

    Raises:
        InputError: so many in a row could not be fetched that the others would not be, either.
    """
    pool = ThreadPoolExecutor(FETCHED_AHEAD, "fetch")
    waiting: deque[tuple[Picture, Future[bytes] | None]] = deque()
    away_in_a_row = 0

    def first() -> Iterator[Frame]:
        nonlocal away_in_a_row
        picture, content = waiting.popleft()
        try:
            frame = _frame(picture, station, None if content is None else content.result())
        except ObjectAway as error:
            away_in_a_row += 1
            on_away(Away(picture, str(error)))
            if away_in_a_row >= MOST_AWAY:
                raise InputError(str(error)) from error
            return
        except InputError as error:
            frame = _frame(picture, station, b"", str(error))
        away_in_a_row = 0
        yield frame

    try:
        for picture in pictures:
            is_fetched = picture.is_object and picture.problem is None
            future = pool.submit(read_object, picture.place) if is_fetched else None
            waiting.append((picture, future))
            while waiting and (len(waiting) > FETCHED_AHEAD or waiting[0][1] is None):
                yield from first()
        while waiting:
            yield from first()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _frame(
    picture: Picture, station: str, content: bytes | None, problem: str | None = None
) -> Frame:
    return Frame(
        payload=Path(picture.place) if content is None else content,
        name=Path(picture.origin).stem,
        problem=picture.problem or problem,
        identity=picture.identity,
        station=station,
        source=picture.origin,
    )

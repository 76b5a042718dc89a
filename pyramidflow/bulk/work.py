"""What every process of a bulk inspection has to know, and what comes back from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pyramidflow.bulk.listing import Picture
from pyramidflow.line.outbox.outbox import Outgoing
from pyramidflow.line.sinks.pictures import PicturesSettings


@dataclass(frozen=True)
class Work:
    """What to inspect with, and which pictures to draw.

    Attributes:
        model: the detector's file.
        thresholds: in place of the calibrated ones; see
            :func:`pyramidflow.line.pipeline.inspector.open_inspector`.
        device: likewise.
        settings: likewise: threads, memory budget, precision, most pixels.
        station: of the records.
        pictures: which overlays and maps are kept, and where; ``None`` for none.
    """

    model: Path
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    device: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    station: str = "bulk"
    pictures: PicturesSettings | None = None


@dataclass(frozen=True)
class Conditions:
    """What verdicts follow from: a run that goes on must have the same.

    Attributes:
        model: SHA-256 of the detector's file.
        threshold: largest score that is not ng.
        review_threshold: largest score that is ok, where there are two.
        pixel_threshold: of the regions.
        device: its kind, ``"cpu"`` or ``"cuda"``.
        precision: of the arithmetic.
        has_review: whether a part can be for review.
    """

    model: str
    threshold: float
    review_threshold: float | None
    pixel_threshold: float | None
    device: str
    precision: str
    has_review: bool


class Away(NamedTuple):
    """A picture that could not be fetched now: it gets no record, and a later run tries it again.

    Attributes:
        picture: the picture.
        reason: in a sentence.
    """

    picture: Picture
    reason: str


Outcome = Outgoing | Away
"""What came of a picture."""


class Engine(Protocol):
    """What inspects many pictures; one file of this room each.

    Attributes:
        conditions: what its verdicts follow from.
    """

    @property
    def conditions(self) -> Conditions:
        """What its verdicts follow from."""

    def outcomes(
        self, pictures: Iterable[Picture], stop_requested: Callable[[], bool]
    ) -> Iterator[Sequence[Outcome]]:
        """Inspect pictures.

        Args:
            pictures: taken as they are needed.
            stop_requested: asked again and again; then what is in hand is given back, and no more.

        Yields:
            What came of some of them, in any order, each picture once.

        Raises:
            InputError: what inspects is lost; the pictures without an outcome were not inspected.
        """

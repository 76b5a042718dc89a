"""How a detector judges pictures that a person has judged."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pyramidflow.data import read_image
from pyramidflow.detector import Session
from pyramidflow.evaluation.rates import Rate, mistakes
from pyramidflow.evaluation.unusable import UNUSABLE


class Judgement(NamedTuple):
    """What a detector says of pictures of parts that a person knows.

    Attributes:
        false_rejects: as in :class:`pyramidflow.evaluation.rates.Mistakes`.
        good_reviews: likewise.
        escapes: likewise.
        unreadable: pictures that could not be inspected; they count nowhere.
    """

    false_rejects: Rate
    good_reviews: Rate
    escapes: Rate
    unreadable: int


def judge(session: Session, good: Sequence[Path], bad: Sequence[Path]) -> Judgement:
    """Inspect pictures of parts that a person has judged.

    Args:
        session: of a calibrated detector.
        good: pictures of good parts.
        bad: pictures of bad parts.
    """
    of_good, of_bad = _verdicts(session, good), _verdicts(session, bad)
    unreadable = len(good) + len(bad) - len(of_good) - len(of_bad)
    return Judgement(*mistakes(of_good, of_bad), unreadable)


def _verdicts(session: Session, pictures: Sequence[Path]) -> list[str]:
    """Of those pictures that can be inspected."""
    found: list[str] = []
    for path in pictures:
        with suppress(*UNUSABLE):
            [inspection] = session.inspect_pixels([read_image(path, session.decoding)])
            if inspection.verdict is not None:
                found.append(inspection.verdict)
    return found

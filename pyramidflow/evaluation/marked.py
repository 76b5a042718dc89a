"""How a detector judges pictures that a person has judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pyramidflow.data import read_image
from pyramidflow.detector import Session
from pyramidflow.evaluation.rates import Rate
from pyramidflow.evaluation.unusable import UNUSABLE


class Judgement(NamedTuple):
    """What a detector says of pictures of parts that a person knows.

    Attributes:
        false_rejects: good parts that are ng, of all good ones.
        escapes: bad parts that are ok, of all bad ones.
        unreadable: pictures that could not be inspected; they count nowhere.
    """

    false_rejects: Rate
    escapes: Rate
    unreadable: int


def judge(session: Session, good: Sequence[Path], bad: Sequence[Path]) -> Judgement:
    """Inspect pictures of parts that a person has judged.

    Args:
        session: of a calibrated detector.
        good: pictures of good parts.
        bad: pictures of bad parts.
    """
    passed, rejected = _verdicts(session, good), _verdicts(session, bad)
    unreadable = passed.count(None) + rejected.count(None)
    return Judgement(
        Rate(passed.count("ng"), len(good) - passed.count(None)),
        Rate(rejected.count("ok"), len(bad) - rejected.count(None)),
        unreadable,
    )


def _verdicts(session: Session, pictures: Sequence[Path]) -> list[str | None]:
    found: list[str | None] = []
    for path in pictures:
        try:
            [inspection] = session.inspect_pixels([read_image(path, session.decoding)])
            found.append(inspection.verdict)
        except UNUSABLE:
            found.append(None)
    return found

"""What calibrate and train take from a line's history, and what they say of it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from pyramidflow.cli.history_places import place_of
from pyramidflow.io.names import printable

_NAMED: Final = 5
"""Files that a sentence names."""

if TYPE_CHECKING:
    from pyramidflow.detector import Detector
    from pyramidflow.evaluation.marked import Judgement
    from pyramidflow.line.history.marked import MarkedPictures


def marked_in(history: str, folders: Sequence[Path] | None) -> "MarkedPictures":
    """Pictures of the parts that people marked, said on standard error.

    Args:
        history: a line's configuration, its store, or the URL of a database.
        folders: of sinks that keep pictures, beside those of the configuration.

    Raises:
        InputError: there is no history, or no good part with a picture in it.
    """
    from pyramidflow.errors import InputError
    from pyramidflow.line.history.marked import marked_pictures
    from pyramidflow.line.history.store import Store

    url, own = place_of(history)
    store = Store.open(url)
    try:
        found = marked_pictures(store.parts(marked=True), [*(folders or ()), *own])
    finally:
        store.close()
    counts = f"{len(found.good)} good, {len(found.bad)} bad, {found.missing} without a picture"
    typer.echo(f"marked in {printable(history)}: {counts}", err=True)
    if found.changed:
        typer.echo(f"left out, they hold another picture now: {_named(found.changed)}", err=True)
    if not found.good:
        raise InputError(
            f"{printable(history)} has no picture of a part that was marked good: keep image in a "
            "sink of the kind pictures, name its folder with --pictures, and mark parts with "
            "pyramidflow history mark."
        )
    return found


def _named(paths: Sequence[Path]) -> str:
    names = list(dict.fromkeys(map(printable, paths)))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def apart(pictures: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Two thirds to train on, and a third to judge by; each picture always on the same side."""
    taught: list[Path] = []
    judged: list[Path] = []
    for path in pictures:
        is_judged = hashlib.sha256(path.name.encode(errors="replace")).digest()[0] % 3 == 0
        (judged if is_judged else taught).append(path)
    return taught, judged


class Judged(NamedTuple):
    """A detector's threshold, and how it judges marked pictures.

    Attributes:
        threshold: ``None`` where there is none for its scores.
        judgement: ``None`` without a threshold.
    """

    threshold: float | None
    judgement: "Judgement | None"


def judged_by(detector: "Detector | None", good: Sequence[Path], bad: Sequence[Path]) -> Judged:
    """How a detector judges pictures of marked parts.

    Args:
        detector: ``None`` where there is none.
        good: pictures of parts that were good.
        bad: pictures of parts that were bad.
    """
    from pyramidflow.evaluation.marked import judge

    if detector is None or detector.threshold is None or detector.session.stale is not None:
        return Judged(None, None)
    return Judged(detector.threshold, judge(detector.session, good, bad))


def before_and_after(before: Judged, after: Judged) -> dict[str, str]:
    """Facts about a detector before and after, by the parts that people marked."""
    facts = {}
    for name, judged in (("before", before), ("after", after)):
        known = judged.threshold is not None
        facts[f"threshold {name}"] = f"{judged.threshold:.6g}" if known else "none"
        if judged.judgement is not None:
            facts[f"false rejects {name}"] = str(judged.judgement.false_rejects)
            facts[f"good for review {name}"] = str(judged.judgement.good_reviews)
            facts[f"escapes {name}"] = str(judged.judgement.escapes)
            if judged.judgement.unreadable:
                facts[f"unreadable {name}"] = str(judged.judgement.unreadable)
    return facts
